"""Vector quantization: neighbouring weights share one code (Gong et al., arXiv 1412.6115)."""

import math
import struct
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ravn.codecs.base import Codec, Encoded, Grid, Rounding
from ravn.codecs.entropy_coder import code_lengths, decode_symbols, encode_symbols, frequency_table
from ravn.codecs.kmeans_vectors import kmeans_vectors, nearest_vectors
from ravn.codecs.packing import pack_bits, pack_numbers, stored_numbers, unpack_bits, unpack_numbers
from ravn.errors import ArtifactError, InputError

Ints = NDArray[np.int64]

MAX_BITS = 12
MAX_DIMENSION = (1 << 32) - 1
_HEAD = struct.Struct("<BIH")
_CODED = 0x80


@dataclass(frozen=True)
class VectorGrid(Grid):
    """The coordinates of a codebook as levels, and how they make up its vectors.

    Args:
        codebook: level of every coordinate of every vector, int64 of shape (M, d).
    """

    codebook: Tensor


@dataclass(frozen=True)
class VectorCodec(Codec):
    """Weights are cut into vectors of d, in the order of memory; each becomes the nearest of at most 2^bits centroids.

    Indices are entropy-coded or of fixed length, whichever is smaller; the last vector is padded with zeros.

    Args:
        dimension: weights per vector; "kernel" for the kernel of a convolution (a single weight elsewhere), "channel"
            for a whole output channel.
        bits: logarithm of the number of centroids, 1 to 12.
    """

    name: ClassVar[str] = "vector"
    dimension: int | str
    bits: int

    def __post_init__(self) -> None:
        named = self.dimension in ("kernel", "channel")
        if not named and not (isinstance(self.dimension, int) and 1 <= self.dimension <= MAX_DIMENSION):
            raise InputError(f"vectors of {self.dimension!r} are impossible; give a number, 'kernel' or 'channel'")
        if not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise InputError(f"a codebook of {self.bits} bits is impossible; give 1 to {MAX_BITS}")

    def encode(self, weight: Tensor, *, rounding: Rounding | None = None) -> Encoded:
        """As in any codec, but the rounding of single weights has no say in the choice of vectors."""
        if self.dimension == "kernel":
            return replace(self, dimension=math.prod(weight.shape[2:]) or 1).encode(weight)
        return super().encode(weight)

    def grid(self, weight: Tensor) -> VectorGrid:
        """All coordinates of all centroids, priced by how often they come up."""
        vectors = _vectors(weight, self._width(weight))
        centroids = kmeans_vectors(vectors, 1 << self.bits)
        stored = stored_numbers(centroids.cpu().numpy().ravel()).reshape(centroids.shape)
        levels, places = np.unique(stored, return_inverse=True)
        codebook = torch.from_numpy(places.reshape(stored.shape)).to(weight.device)
        owners = nearest_vectors(vectors, torch.from_numpy(stored).to(weight)).cpu()
        members = np.bincount(owners.numpy(), minlength=len(stored))
        counts = np.bincount(places.ravel(), np.repeat(members, stored.shape[1]), len(levels))
        lengths = torch.from_numpy(code_lengths(frequency_table(counts.astype(np.int64))))
        return VectorGrid(torch.from_numpy(levels)[None].to(weight), lengths[None].to(weight), codebook)

    def quantize(self, weight: Tensor, grid: Grid) -> Tensor:
        """Codes of the nearest centroids, coordinate by coordinate."""
        codebook = _codebook(grid)
        owners = nearest_vectors(_vectors(weight, codebook.shape[1]), grid.levels[0][codebook])
        return codebook[owners].flatten()[: weight.numel()].reshape(weight.shape)

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write the size of the vectors and of the codebook, the codebook, and the index of every vector.

        Raises:
            InputError: the codes are not made of vectors of the codebook.
        """
        codebook = _codebook(grid).cpu().numpy()
        symbols = _indices(codes.flatten().cpu().numpy(), codebook)
        size, width = codebook.shape
        table = frequency_table(np.bincount(symbols, minlength=size))
        fixed, coded = pack_bits(symbols, _fixed_bits(size)), table + encode_symbols(symbols, table)
        flag, body = (_CODED, coded) if len(coded) < len(fixed) else (0, fixed)
        numbers = grid.levels[0].cpu().numpy()[codebook].ravel()
        return _HEAD.pack(flag, width, size - 1) + pack_numbers(numbers) + body

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        symbols, centroids = VectorCodec.vectors(payload, rows, columns)
        return torch.from_numpy(centroids[symbols].ravel()[: rows * columns].reshape(rows, columns))

    @staticmethod
    def vectors(payload: bytes, rows: int, columns: int) -> tuple[Ints, NDArray[np.float32]]:
        """Index of every vector, shape (vectors,), and the codebook, shape (M, d).

        Raises:
            ArtifactError: the payload is not one that `pack` could have written.
        """
        if len(payload) < _HEAD.size:
            raise ArtifactError(f"a vector-quantized layer of {len(payload)} bytes is too short")
        flag, width, last = _HEAD.unpack_from(payload)
        if flag not in (0, _CODED) or not width:
            raise ArtifactError("a vector-quantized layer has a broken head")
        size, count = last + 1, -(-rows * columns // width)
        centroids = unpack_numbers(payload[_HEAD.size :], size * width).reshape(size, width)
        body = payload[_HEAD.size + 4 + 2 * size * width :]
        if flag:
            symbols = decode_symbols(body[size:], body[:size], count, size=size).astype(np.int64)
        else:
            symbols = unpack_bits(body, _fixed_bits(size), count)
        if symbols.max() >= size:
            raise ArtifactError(f"a code points beyond the {size} vectors of its codebook")
        return symbols, centroids

    def _width(self, weight: Tensor) -> int:
        if isinstance(self.dimension, int):
            return self.dimension
        return weight.shape[1] if self.dimension == "channel" else 1


def _vectors(weight: Tensor, width: int) -> Tensor:
    flat = weight.flatten()
    return functional.pad(flat, (0, -len(flat) % width)).reshape(-1, width)


def _codebook(grid: Grid) -> Tensor:
    if not isinstance(grid, VectorGrid):
        raise TypeError("a vector codec needs the grid that it fitted")
    return grid.codebook


def _indices(codes: Ints, codebook: Ints) -> Ints:
    """Which vector of the codebook each vector of codes is, told by the hash sum_j codes_j * m_j modulo 2^64."""
    width = codebook.shape[1]
    kept = len(codes) % width
    if kept:
        # Any vector will do for the last, cut one that begins as it does.
        fits = np.flatnonzero((codebook[:, :kept] == codes[-kept:]).all(1))
        codes = np.append(codes, codebook[fits[:1], kept:])
        codes = codes if len(fits) else np.append(codes, np.full(width - kept, -1))
    vectors = codes.reshape(-1, width)
    multipliers = np.random.default_rng(0).integers(1 << 62, size=width)
    keys = codebook @ multipliers
    order = keys.argsort()
    places = np.searchsorted(keys[order], vectors @ multipliers)
    index: Ints = order[np.minimum(places, len(order) - 1)]
    if not np.array_equal(codebook[index], vectors):
        raise InputError("the codes are not made of vectors of the codebook")
    return index


def _fixed_bits(size: int) -> int:
    return max((size - 1).bit_length(), 1)
