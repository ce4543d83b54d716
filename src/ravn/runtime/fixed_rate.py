"""A weight that is looked up: a table, codes of fixed length, and scales."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs import CODECS, Encoded, SteppedCodec, UniformCodec, VectorCodec, decoded
from ravn.codecs.base import matrix_shape
from ravn.codecs.spectrum import synthesis_matrix
from ravn.runtime.lookup import values_of
from ravn.runtime.stages import MOST_BITS, Stage, staged, unstaged

Floats = NDArray[np.float32]
Indexed = tuple[NDArray[np.integer], NDArray[np.generic], Floats | None]
"""Codes, the table that they point into, and scales."""

_DIVISORS = (1, 2, 3)
"""The smallest level of an equal step is nearly always the step itself; or half of it, or it is rare."""


@dataclass(frozen=True)
class FixedRate:
    """A weight whose vectors of d, in the order of memory, are `table[rank]`, times the scale of their row.

    Args:
        shape: shape of the weight.
        dtype: dtype of the weight.
        table: shape (K, d), d = 1 for scalar quantizers; int8 or int16 where all are multiples of a step, which is
            in the scales then, else float32.
        scales: of every row or of all, float32, shape (rows,) or (1,); None where there is none.
        stages: the ranks.
        spectral: these are spectra of kernels, and the weight is their synthesis.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    table: Tensor
    scales: Tensor | None
    stages: tuple[Stage, ...]
    spectral: bool = False

    def tensors(self) -> Iterator[Tensor]:
        """Everything that is stored."""
        for stage in self.stages:
            yield from stage.planes
        yield self.table
        if self.scales is not None:
            yield self.scales

    @property
    def size_bytes(self) -> int:
        """Stored size in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())


def fixed_rate(encoded: Encoded) -> FixedRate | None:
    """The fixed-length form of a layer: the same weight, to the bit; of spectra, to the rounding of float32.

    Returns:
        None where it would not be smaller than the weight.

    Raises:
        ArtifactError: the payload is broken.
    """
    weight, spectral = _quantized(encoded)
    if not weight.numel():
        return None
    codes, table, scales = _indexed(encoded, weight)
    if len(table) > 1 << MOST_BITS:
        return None
    stages, order = staged(codes, len(table))
    rows = None if scales is None else torch.from_numpy(scales)
    dtype: torch.dtype = getattr(torch, encoded.dtype)
    found = FixedRate(encoded.shape, dtype, torch.from_numpy(table[order]), rows, stages, spectral)
    return found if found.size_bytes < weight.numel() * dtype.itemsize else None


def counted_bytes(encoded: Encoded, *, fixed: bool) -> int:
    """Bytes of a layer in its file, or of the largest of all its forms.

    Args:
        encoded: the layer.
        fixed: codes of fixed length are counted as well, as exported files and the packed runtime hold them; where
            these have none, so is the weight itself.
    """
    if not fixed:
        return encoded.size_bytes
    form = fixed_rate(encoded)
    dtype: torch.dtype = getattr(torch, encoded.dtype)
    plain = math.prod(encoded.shape) * dtype.itemsize
    return max(encoded.size_bytes, plain if form is None else form.size_bytes)


def fixed_rates(layers: Mapping[str, Encoded]) -> dict[str, FixedRate]:
    """The fixed-length form of every layer that has one, by its name.

    Raises:
        ArtifactError: a payload is broken.
    """
    forms = {name: fixed_rate(encoded) for name, encoded in layers.items()}
    return {name: form for name, form in forms.items() if form is not None}


def unpacked(weight: FixedRate) -> Tensor:
    """The weight of a fixed-length form, on the device of its table."""
    table, scales = scaled_table(weight)
    rows, columns = matrix_shape(weight.shape)
    matrix = _vectors(weight, table).reshape(-1)[: rows * columns].reshape(rows, columns)
    if scales is not None:
        matrix = matrix * scales[:, None]
    basis = synthesis_matrix(weight.shape[2:]) if weight.spectral else None
    if basis is not None:
        # In float32, half as long as in the double precision of the codec, and as near as float32 comes.
        matrix = matrix.reshape(-1, len(basis)) @ basis.to(matrix)
    return matrix.reshape(weight.shape).to(weight.dtype)


def scaled_table(weight: FixedRate) -> tuple[Tensor, Tensor | None]:
    """The table in float32, a scale that all rows share in it, and the scales of rows where there are some."""
    table, scales = weight.table.to(torch.float32), weight.scales
    if scales is not None and len(scales) == 1:
        return table * scales, None
    return table, scales


def table_values(weight: FixedRate) -> Tensor:
    """The table's entry at every code, not scaled and not synthesised, float32 of the weight's shape."""
    rows, columns = matrix_shape(weight.shape)
    flat = _vectors(weight, weight.table.to(torch.float32)).reshape(-1)
    return flat[: rows * columns].reshape(weight.shape)


def _quantized(encoded: Encoded) -> tuple[Tensor, bool]:
    """What a codec quantized, and whether it is spectra of kernels."""
    codec = CODECS.get(encoded.codec)
    if codec is not None and issubclass(codec, SteppedCodec):
        values, spectral = codec.quantized(encoded)
        return values, spectral and synthesis_matrix(encoded.shape[2:]) is not None
    return decoded(encoded), False


def _vectors(weight: FixedRate, table: Tensor) -> Tensor:
    # A compiler fuses shifts and comparisons; without one, tables are quicker.
    if table.shape[1] == 1 and not torch.compiler.is_compiling():
        return values_of(weight.stages, table[:, 0])
    return table.index_select(0, unstaged(weight.stages))


def _indexed(encoded: Encoded, weight: Tensor) -> Indexed:
    rows, columns = matrix_shape(encoded.shape)
    if encoded.codec == VectorCodec.name:
        codes, centroids = VectorCodec.vectors(encoded.payload, rows, columns)
        return codes, centroids, None
    matrix = weight.to(torch.float32).reshape(rows, columns).numpy()
    if encoded.codec == UniformCodec.name:
        # Levels are odd multiples of half a step.
        halves = UniformCodec.steps(encoded.payload, rows) / np.float32(2)
        places = np.rint(matrix / np.where(halves, halves, 1)[:, None]).astype(np.int16)
        odd, codes = np.unique(places, return_inverse=True)
        return codes.ravel(), _narrowest(odd)[:, None], halves
    levels, codes = np.unique(matrix, return_inverse=True)
    multiples = _multiples(levels)
    if multiples is None:
        return codes.ravel(), levels[:, None], None
    return codes.ravel(), _narrowest(multiples[0])[:, None], multiples[1]


def _multiples(levels: Floats) -> tuple[NDArray[np.int64], Floats] | None:
    """Whole numbers and the step that they are multiples of, exactly; None where there is none."""
    smallest = np.abs(levels[levels != 0]).min(initial=np.inf)
    if not np.isfinite(smallest):
        return None
    for divisor in _DIVISORS:
        step = np.float32(smallest / divisor)
        places = np.rint(levels / step)
        if np.abs(places).max() <= np.iinfo(np.int16).max and np.array_equal(places * step, levels):
            return places.astype(np.int64), np.array([step], np.float32)
    return None


def _narrowest(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    return numbers.astype(np.int8 if np.abs(numbers).max(initial=0) <= np.iinfo(np.int8).max else np.int16)
