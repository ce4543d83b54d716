"""Which tensor of a graph is which weight: exporters rename, transpose, and fold batch norms into weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravn.runtime import FixedRate

Array = NDArray[Any]

_CLOSE = 1e-5
"""Folding a batch norm rounds twice."""


@dataclass(frozen=True)
class Match:
    """A tensor of the graph as a weight: `weight * scales` along one axis, then transposed or not.

    Args:
        layer: name of the weight.
        axis: axis of the scales.
        scales: float32, shape (side,); None where the tensor is the weight itself.
        transposed: the tensor is the transpose of a matrix.
    """

    layer: str
    axis: int = 0
    scales: NDArray[np.float32] | None = None
    transposed: bool = False


def matched(arrays: Mapping[str, Array], weights: Mapping[str, Array], close: float = _CLOSE) -> dict[str, Match]:
    """Find the weight behind every tensor.

    Args:
        arrays: tensors of the graph by name.
        weights: weights of the network by name.
        close: largest difference that rounding explains, in units of the tensor's largest magnitude.

    Returns:
        Match of every tensor that has one, by its name.
    """
    found = {}
    for name, array in arrays.items():
        first = [name] if name in weights else []
        candidates = (m for layer in [*first, *weights] for m in _candidates(array, layer, weights[layer], close))
        match = next(candidates, None)
        if match is not None:
            found[name] = match
    return found


def scales_of(layer: FixedRate, match: Match) -> NDArray[np.float32]:
    """Scales of a layer and of the graph together, of a shape that broadcasts over the weight."""
    own = np.ones(1, np.float32) if layer.scales is None else layer.scales.numpy()
    ones = [1] * len(layer.shape)
    scales = own.reshape([-1, *ones[1:]])
    if match.scales is not None:
        scales = scales * match.scales.reshape([-1 if axis == match.axis else 1 for axis in range(len(ones))])
    return scales


def _candidates(array: Array, layer: str, weight: Array, close: float) -> Iterator[Match]:
    if array.ndim < 2 or array.size != weight.size:
        return
    if array.shape == weight.shape:
        yield from _scaled(array, layer, weight, close)
    if array.ndim == 2 and array.T.shape == weight.shape and np.array_equal(array.T, weight):
        yield Match(layer, transposed=True)


def _scaled(array: Array, layer: str, weight: Array, close: float) -> Iterator[Match]:
    if np.array_equal(array, weight):
        yield Match(layer)
        return
    for axis in (0, 1):
        others = tuple(a for a in range(array.ndim) if a != axis)
        norm = np.square(weight, dtype=np.float64).sum(others, keepdims=True)
        scales = (array.astype(np.float64) * weight).sum(others, keepdims=True) / np.where(norm, norm, 1)
        if np.abs(scales * weight - array).max() <= close * np.abs(array).max():
            yield Match(layer, axis, scales.ravel().astype(np.float32))
            return
