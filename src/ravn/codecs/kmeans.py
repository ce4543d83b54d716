"""k-means (Eq. 1 of the paper): exact in one dimension."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.errors import InputError

BINS = 1 << 12
_QUANTILES = 1 << 20
_FINENESS = 16
_PLACES = 17
_REACHES = (1.0, 1.0, 0.3, 0.3, 0.3, 0.1, 0.02)
_ITERATIONS = 100
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IntervalError = Callable[[Ints, Ints], Floats]


def kmeans(points: Tensor, clusters: int, *, bins: int = BINS) -> Tensor:
    """Cluster scalars so that the squared error is least.

    `min over c_1..c_M of sum_m sum_{w in cluster m} (w - c_m)^2` (Eq. 1), solved by dynamic
    programming on a histogram, whose optimum is exact up to the width of a bin, and finished by
    Lloyd's iteration on the points.

    Args:
        points: shape (n,).
        clusters: M; where there are fewer distinct points, there are fewer clusters, so none is
            ever empty. Points closer than 1e-12 of the largest count as equal.
        bins: number of bins of the histogram; with no more distinct points than that, the optimum
            is exact.

    Returns:
        Ascending centroids, shape (at most M,), same dtype and device as `points`.

    Raises:
        InputError: no points, points that are not finite, or `clusters` below 1.
    """
    if clusters < 1:
        raise InputError(f"k-means into {clusters} clusters is impossible; give at least 1")
    if not points.numel() or not torch.isfinite(points).all():
        raise InputError("k-means needs at least one point, and only finite ones")
    ordered = ordered_values(points)
    sums = _prefix_sums(ordered)
    coarse = quantile_bins(ordered, bins)
    starts = np.union1d(coarse, quantile_bins(ordered, _FINENESS * bins))
    error = _interval_error(np.diff(starts, append=len(ordered)), np.diff(sums[starts], append=sums[-1]))
    edges = np.append(np.searchsorted(starts, coarse), len(starts))
    cuts = _segment(error, edges, clusters)
    for reach in _REACHES:
        cuts = _shift(cuts, error, reach)
    return torch.from_numpy(_lloyd(ordered, sums, starts[cuts[:-1]])).to(points)


def ordered_values(points: Tensor) -> NDArray[np.floating]:
    """All points in ascending order, shape (n,), float64 for float64 and float32 for narrower dtypes."""
    values = points.detach().flatten()
    return np.sort((values if values.dtype == torch.float64 else values.float()).cpu().numpy())


def boundaries(centroids: Tensor) -> Tensor:
    """Where one cluster ends and the next begins, shape (M - 1,)."""
    return centroids[1:] / 2 + centroids[:-1] / 2


def _prefix_sums(values: NDArray[np.floating]) -> Floats:
    sums = np.zeros(len(values) + 1)
    # Piece by piece, because numpy would widen all values at once.
    for at in range(0, len(values), _QUANTILES):
        part = sums[at + 1 : at + 1 + _QUANTILES]
        np.cumsum(values[at : at + _QUANTILES], dtype=np.float64, out=part)
        part += sums[at]
    return sums


def quantile_bins(ordered: NDArray[np.floating], bins: int) -> Ints:
    """Where each bin starts among ascending points: one for every distinct point, or `bins` where they are denser.

    An optimal quantizer of a density f has centroids of density f^(1/3) (Panter and Dite), and so
    have the bins. A gap between neighbouring points estimates 1 / f, and f^(1/3) dx is gap^(2/3).
    """
    steps = ordered[1:] != ordered[:-1]
    if np.count_nonzero(steps) < bins:
        return np.concatenate([[0], np.flatnonzero(steps) + 1])
    stride = -(-len(ordered) // _QUANTILES)
    quantiles = np.append(ordered[::stride], ordered[-1]).astype(np.float64)
    gaps = np.diff(quantiles / max(abs(quantiles[0]), abs(quantiles[-1])))
    need = np.cumsum(np.cbrt(gaps * gaps))
    starts = stride * (1 + np.searchsorted(need, need[-1] / bins * np.arange(1, bins)))
    return np.unique(np.concatenate([[0], starts[starts < len(ordered)]]))


def _interval_error(counts: Ints, sums: Floats) -> IntervalError:
    """Squared error, up to a constant, of joining the bins start..stop-1 into one cluster."""
    total = np.concatenate([[0.0], np.cumsum(counts)])
    centres = sums / counts
    centres -= sums.sum() / total[-1]
    first = np.concatenate([[0.0], np.cumsum(counts * centres)])
    second = np.concatenate([[0.0], np.cumsum(counts * centres**2)])

    def error(start: Ints, stop: Ints) -> Floats:
        """Squared error of the segments from `start` to `stop`."""
        mass = np.maximum(total[stop] - total[start], 1e-300)
        return second[stop] - second[start] - (first[stop] - first[start]) ** 2 / mass

    return error


def _segment(error: IntervalError, edges: Ints, clusters: int) -> Ints:
    """Ends of the optimal intervals among all that end at these ascending edges, shape (M + 1,)."""
    count = len(edges) - 1

    def coarse_error(start: Ints, stop: Ints) -> Floats:
        """The same between the edges of blocks."""
        return error(edges[start], edges[stop])

    best = coarse_error(np.zeros(count + 1, np.int64), np.arange(count + 1))
    choices = []
    for k in range(1, min(clusters, count)):
        best, choice = _extend(best, coarse_error, k, count)
        choices.append(choice)
    cuts = [count]
    for choice in reversed(choices):
        cuts.append(int(choice[cuts[-1]]))
    return edges[[0, *reversed(cuts)]]


def _shift(cuts: Ints, error: IntervalError, reach: float) -> Ints:
    """Move all cuts at once to the best of a few places on either side, by dynamic programming.

    Args:
        cuts: ends of the intervals, shape (M + 1,).
        error: squared error of an interval.
        reach: farthest place, as a share of the way to the neighbouring cut.
    """
    shares = reach * np.linspace(-1, 1, _PLACES)
    sizes = np.diff(cuts)[:, None]
    moves = np.where(shares < 0, sizes[:-1], sizes[1:]) * shares
    places = cuts[:, None] + np.pad(np.rint(moves).astype(np.int64), ((1, 1), (0, 0)))
    start, stop = places[:-1, :, None], places[1:, None, :]
    costs = np.where(start < stop, error(start, np.maximum(start, stop)), np.inf)
    best, choices = costs[0, 0], []
    for cost in costs[1:]:
        joint = best[:, None] + cost
        choices.append(joint.argmin(0))
        best = joint.min(0)
    picks = [0]
    for choice in reversed(choices):
        picks.append(int(choice[picks[-1]]))
    return places[np.arange(len(cuts)), [0, *reversed(picks)]]


def _extend(best: Floats, error: IntervalError, k: int, count: int) -> tuple[Floats, Ints]:
    """One more segment: `new[j] = min_i best[i] + error(i, j)`; the minimiser is monotone in j.

    Positions are solved level by level of a bisection, all of one level at once; each scans only
    between the minimisers of its neighbours, so a level costs O(count).
    """
    new = np.full(count + 1, np.inf)
    choice = np.zeros(count + 1, np.int64)
    left, right = np.array([k + 1]), np.array([count])
    low, high = np.array([k]), np.array([count - 1])
    while len(left):
        middle = (left + right) // 2
        upper = np.minimum(high, middle - 1)
        sizes = upper - low + 1
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        flat = np.arange(sizes.sum()) - np.repeat(starts, sizes) + np.repeat(low, sizes)
        cost = best[flat] + error(flat, np.repeat(middle, sizes))
        least = np.minimum.reduceat(cost, starts)
        hits = np.flatnonzero(cost == np.repeat(least, sizes))
        owner = np.repeat(np.arange(len(middle)), sizes)[hits]
        picks = flat[hits[np.unique(owner, return_index=True)[1]]]
        new[middle], choice[middle] = least, picks
        sides = [(left, middle - 1, low, picks), (middle + 1, right, picks, high)]
        left, right, low, high = (np.concatenate([s[n] for s in sides]) for n in range(4))
        alive = left <= right
        left, right, low, high = left[alive], right[alive], low[alive], high[alive]
    return new, choice


def _lloyd(ordered: NDArray[np.floating], sums: Floats, starts: Ints) -> Floats:
    """Lloyd's iteration on ascending points with prefix sums; a cluster that empties is dropped."""
    centroids = np.diff(sums[starts], append=sums[-1]) / np.diff(starts, append=len(ordered))
    for _ in range(_ITERATIONS):
        inner = np.searchsorted(ordered, ((centroids[1:] + centroids[:-1]) / 2).astype(ordered.dtype))
        cuts = np.concatenate([[0], inner, [len(ordered)]])
        counts = np.diff(cuts)
        updated = np.diff(sums[cuts])[counts > 0] / counts[counts > 0]
        if len(updated) == len(centroids) and np.array_equal(updated, centroids):
            break
        centroids = updated
    return centroids
