"""Clusters by squared error and bits: rate-constrained clustering (Chou, Lookabaugh and Gray, 10.1109/29.17498).

k-means alone spends as many bits on its index as its cells ask for. Here a cell has its price: at low rates cells
become those of an entropy-constrained scalar quantizer, at high rates the widths at which all cells have one step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ravn.codecs.kmeans import quantile_bins

BINS = 512
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Bins:
    """Ascending points in bins that are never cut, and everything that the cost of an interval of bins takes.

    Args:
        starts: where each bin starts, and the number of points, shape (K + 1,).
        low: lowest point of each bin, shape (K,).
        high: highest point of each bin, shape (K,).
        first: sums of all points before each start, shape (K + 1,).
        second: the same of their squares.
    """

    starts: Ints
    low: Floats
    high: Floats
    first: Floats
    second: Floats


def fitted_bits(ordered: NDArray[np.floating], choices: Sequence[int], clusters: int, price: float) -> tuple[int, ...]:
    """Bit-widths of the cheapest clusters; those that do not pay are left out.

    Minimises `sum_m error_m + price * n_m (b_m + log2(n / n_m))` over the cells, the widths b and the number of
    cells, `error_m` being `n_m width_m^2 / (12 * 4^b_m)`, or for b = 0 the squared distance from the mean.

    Args:
        ordered: ascending points, shape (n,).
        choices: the widths on offer, in bits.
        clusters: so many at most.
        price: of a bit, in squared units of the points.
    """
    bins = _binned(ordered)
    offers = np.stack([_costs(bins, b, price) for b in choices])
    cheapest, taken = offers.min(0), offers.argmin(0)
    totals, origins = _segmented([cheapest] * min(clusters, len(bins.low)))
    cuts = _traced(origins[: 1 + int(np.argmin(totals))])
    return tuple(choices[i] for i in taken[cuts[:-1], cuts[1:]])


def priced_cuts(ordered: NDArray[np.floating], bits: Sequence[int], price: float) -> Ints:
    """Ends of the cheapest cells of clusters that have these bit-widths; costs are those of `fitted_bits`.

    Args:
        ordered: ascending points, shape (n,).
        bits: width of each cluster; where there are fewer distinct points, the last ones are left out.
        price: of a bit, in squared units of the points.

    Returns:
        Places among the points, shape (at most M + 1,), from 0 to n; no cell is empty.
    """
    bins = _binned(ordered)
    offers = {b: _costs(bins, b, price) for b in set(bits)}
    _, origins = _segmented([offers[b] for b in bits[: len(bins.low)]])
    return bins.starts[_traced(origins)]


def _binned(ordered: NDArray[np.floating]) -> _Bins:
    # Equal points stay together, in the bin where the first of them is.
    inner = np.unique(np.searchsorted(ordered, ordered[quantile_bins(ordered, BINS)]))
    starts = np.append(inner, len(ordered))
    middle = ordered.mean(dtype=np.float64)
    first, second = np.zeros(len(starts)), np.zeros(len(starts))
    # Bin by bin, because numpy would widen all values at once.
    for i, (start, stop) in enumerate(pairwise(starts)):
        values = ordered[start:stop] - middle
        first[i + 1], second[i + 1] = values.sum(), values @ values
    low, high = ordered[inner].astype(np.float64), ordered[starts[1:] - 1].astype(np.float64)
    return _Bins(starts, low, high, first.cumsum(), second.cumsum())


def _costs(bins: _Bins, bits: int, price: float) -> Floats:
    """Cost of the bins start..stop-1 as one cluster, shape (K + 1, K + 1); infinite where there are none."""
    start, stop = np.triu_indices(len(bins.starts), 1)
    count = (bins.starts[stop] - bins.starts[start]).astype(np.float64)
    if bits:
        error = count * (bins.high[stop - 1] - bins.low[start]) ** 2 / (12 * 4**bits)
    else:
        error = bins.second[stop] - bins.second[start] - (bins.first[stop] - bins.first[start]) ** 2 / count
    costs = np.full((len(bins.starts), len(bins.starts)), np.inf)
    costs[start, stop] = error + price * count * (bits + np.log2(bins.starts[-1] / count))
    return costs


def _segmented(costs: Sequence[Floats]) -> tuple[list[float], list[Ints]]:
    """Least cost of the first m intervals together, for every m, and where the last of them starts."""
    best, totals, origins = costs[0][0], [float(costs[0][0, -1])], [np.zeros(len(costs[0]), np.int64)]
    for cost in costs[1:]:
        joint = best[:, None] + cost
        origins.append(joint.argmin(0))
        best = joint.min(0)
        totals.append(float(best[-1]))
    return totals, origins


def _traced(origins: Sequence[Ints]) -> Ints:
    """Ends of the intervals, from where each of them starts."""
    cuts = [len(origins[0]) - 1]
    for origin in reversed(origins):
        cuts.append(int(origin[cuts[-1]]))
    return np.array(cuts[::-1])
