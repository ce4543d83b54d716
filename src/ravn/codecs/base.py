"""What a codec is: a frozen configuration that turns a weight into bytes and back."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ravn.errors import InputError


@dataclass(frozen=True)
class Grid:
    """Reconstruction levels of a scalar quantizer, with the price of each.

    Args:
        levels: ascending reconstruction levels, shape (rows, K), or (1, K) when all rows share
            them.
        lengths: code length of each level in bits, of the shape of `levels`, or (classes, K) where
            weights have classes; zeros for fixed-length codes.
        classes: row of `lengths` that holds for each weight, uint8, shape (rows, columns); None where
            a weight's place doesn't matter. Only with levels that all rows share.
    """

    levels: Tensor
    lengths: Tensor
    classes: Tensor | None = field(default=None, kw_only=True)

    @cached_property
    def middles(self) -> Tensor:
        """Where one level stops being the nearest and the next begins, shape (rows, K - 1)."""
        # Halved first: the sum of two large levels may overflow.
        return (self.levels[:, 1:] / 2 + self.levels[:, :-1] / 2).contiguous()

    def values(self, codes: Tensor) -> Tensor:
        """Look codes up: `values[r, c] = levels[r, codes[r, c]]`, shape (rows, columns)."""
        if self.levels.shape[0] == 1:
            return self.levels[0][codes]
        return self.levels.gather(1, codes)


Rounding = Callable[[Tensor, Grid], Tensor]
"""Chooses codes, int64 of shape (rows, columns), for a weight matrix (rows, columns) on a grid."""


@dataclass(frozen=True)
class Encoded:
    """A weight tensor as bytes: what one codec wrote and the codec of that name can read.

    Args:
        codec: registered name of the codec.
        shape: shape of the weight.
        dtype: name of the weight's dtype, such as "float32".
        payload: everything else that decoding needs; `len(payload)` is the stored size in bytes.
    """

    codec: str
    shape: tuple[int, ...]
    dtype: str
    payload: bytes

    @property
    def size_bytes(self) -> int:
        """Stored size in bytes."""
        return len(self.payload)


def nearest(weight: Tensor, grid: Grid) -> Tensor:
    """Round every weight to its nearest level.

    Args:
        weight: shape (rows, columns).
        grid: the levels to choose from.

    Returns:
        Codes, int64 of shape (rows, columns).
    """
    if grid.middles.shape[0] == 1:
        return torch.bucketize(weight.contiguous(), grid.middles[0])
    return torch.searchsorted(grid.middles, weight.contiguous())


class Codec(ABC):
    """A frozen configuration of one way to store a weight.

    Subclasses are frozen dataclasses of JSON-able fields; they say how levels are fitted (`grid`),
    and how codes become bytes (`pack`) and come back (`unpack`). All of them obey the same laws:
    `decode(encode(w))` lies on the grid, the configuration survives JSON, and the stored size is
    `len(payload)`.
    """

    name: ClassVar[str]

    @abstractmethod
    def grid(self, weight: Tensor) -> Grid:
        """Fit reconstruction levels to a float32 weight matrix of shape (rows, columns)."""

    def shaped_grid(self, weight: Tensor) -> Grid:
        """The grid of what is quantized in its own shape, for codecs that know about channels and kernels."""
        return self.grid(as_matrix(weight))

    def analysed(self, weight: Tensor) -> Tensor:
        """What is quantized, of the weight's shape: the weight itself, unless the codec transforms it."""
        return weight

    def synthesised(self, values: Tensor) -> Tensor:
        """The weight of quantized values: the inverse of `analysed`."""
        return values

    def pulled_back(self, gradient: Tensor) -> Tensor:
        """Gradient with respect to what is quantized, from that with respect to the weight."""
        return gradient

    @abstractmethod
    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write codes, shape (rows, columns), and whatever rebuilds the grid."""

    @staticmethod
    @abstractmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote: float32 values of shape (rows, columns).

        Raises:
            ArtifactError: the payload is not one that `pack` could have written.
        """

    def quantize(self, weight: Tensor, grid: Grid) -> Tensor:
        """The codes of a weight matrix, shape (rows, columns), that `encode` writes unless told otherwise."""
        return nearest(weight, grid)

    def encode(self, weight: Tensor, *, rounding: Rounding | None = None) -> Encoded:
        """Quantize and write a weight of any shape and floating dtype.

        Args:
            weight: the first dimension counts rows (output channels), the others are flattened.
            rounding: chooses the codes of what `analysed` gives; `quantize` unless told otherwise.

        Raises:
            InputError: the weight is not of a floating dtype, or holds NaN, infinity or values beyond float32.
        """
        dtype = str(weight.dtype).removeprefix("torch.")
        if not weight.is_floating_point():
            raise InputError(f"a weight of dtype {dtype} can't be compressed; give a floating-point one")
        matrix = as_matrix(weight)
        if not torch.isfinite(matrix).all():
            raise InputError("a weight holds NaN, infinite values or values beyond float32; give a finite weight")
        if matrix.numel() == 0:
            return Encoded(self.name, tuple(weight.shape), dtype, b"")
        values = self.analysed(matrix.reshape(weight.shape))
        matrix, grid = as_matrix(values), self.shaped_grid(values)
        payload = self.pack((rounding or self.quantize)(matrix, grid), grid)
        return Encoded(self.name, tuple(weight.shape), dtype, payload)

    @classmethod
    def decode(cls, encoded: Encoded) -> Tensor:
        """Rebuild the weight, of the shape and dtype that were encoded; the payload alone tells how."""
        rows, columns = matrix_shape(encoded.shape)
        dtype: torch.dtype = getattr(torch, encoded.dtype)
        if rows * columns == 0:
            return torch.zeros(encoded.shape, dtype=dtype)
        return cls.unpack(encoded.payload, rows, columns).reshape(encoded.shape).to(dtype)

    def config(self) -> dict[str, Any]:
        """What differs from the defaults as JSON-able values, with the codec's name under "codec"."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}  # type: ignore[arg-type]
        return {"codec": self.name, **json.loads(json.dumps(told))}


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight of this shape: output channels, and everything else."""
    rows = shape[0] if shape else 1
    size = 1
    for side in shape:
        size *= side
    return rows, (size // rows if rows else 0)


def as_matrix(weight: Tensor) -> Tensor:
    """View a weight as a float32 matrix of shape (rows, columns)."""
    return weight.detach().reshape(matrix_shape(tuple(weight.shape))).to(torch.float32)
