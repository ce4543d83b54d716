"""The paper's codec: k-means clusters (Eq. 1), each with a bit-width of its own (Eq. 2)."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.base import Codec, Grid, nearest
from ravn.codecs.entropy_coder import code_lengths, decode_symbols, encode_symbols, frequency_table
from ravn.codecs.kmeans import boundaries, kmeans, ordered_values
from ravn.codecs.packing import (
    look_up,
    pack_bits,
    pack_numbers,
    stored_numbers,
    unpack_bits,
    unpack_levels,
    unpack_numbers,
)
from ravn.codecs.priced_cells import fitted_bits, priced_cuts
from ravn.errors import ArtifactError, InputError

MAX_BITS = 8
MAX_CLUSTERS = 64
_JOINT, _FIXED = 0x80, 0
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Cell = tuple[float, float, float]


@dataclass(frozen=True)
class ClusterCodec(Codec):
    """A weight is (cluster, position inside the cluster's cell); cluster m has 2^bits[m] positions.

    Clusters are intervals, those of the k-means partition unless bits have a price, and a cell's
    positions are equally spaced. A cluster of zero bits is its centroid alone. The cluster index is
    entropy-coded; positions are coded with it (one table for all symbols) or in fixed length,
    whichever is smaller. For direct execution both together can be codes of one fixed length.

    Args:
        bits: bit-width of each cluster, by ascending centroid, 0 to 8 each (Eq. 2).
        strict: demand different bit-widths in different clusters, as Eq. 2 literally says.
        price: of a bit, as a share of the weights' variance. Cells are those of least error + price
            * bits, as their own positions make the error; with 0, those of k-means (Eq. 1).
        entropy_coded: False makes all codes equally long, ceil(log2(sum of 2^bits)) bits: larger, but any weight
            can be looked up on its own.
    """

    name: ClassVar[str] = "cluster"
    bits: tuple[int, ...]
    strict: bool = False
    price: float = 0.0
    entropy_coded: bool = True

    def __post_init__(self) -> None:
        widths = all(isinstance(b, int) and 0 <= b <= MAX_BITS for b in self.bits)
        if not widths or not 1 <= len(self.bits) <= MAX_CLUSTERS:
            raise InputError(f"cluster bits {self.bits} are impossible; give 1 to {MAX_CLUSTERS} of 0 to {MAX_BITS}")
        if self.strict and len(set(self.bits)) < len(self.bits):
            raise InputError(f"cluster bits {self.bits} repeat a width; Eq. 2 taken literally wants distinct ones")
        if not isinstance(self.price, Real) or not 0 <= self.price < math.inf:
            raise InputError(f"a price of {self.price} is impossible; give 0 or a positive number")

    @classmethod
    def fitted(cls, weight: Tensor, clusters: int, price: float) -> "ClusterCodec":
        """The codec whose bits and cells are cheapest for a weight; clusters that do not pay are left out.

        Args:
            weight: any shape.
            clusters: so many at most.
            price: of a bit, as a share of the weights' variance.
        """
        ordered = ordered_values(weight)
        bits = fitted_bits(ordered, range(MAX_BITS + 1), clusters, price * _variance(ordered))
        return cls(bits, price=price)

    def cells(self, weight: Tensor) -> list[Cell]:
        """Lowest member, centroid and highest member of every cluster of a weight; none is empty."""
        ordered = ordered_values(weight)
        if self.price:
            cuts = priced_cuts(ordered, self.bits, self.price * _variance(ordered))[1:-1]
        else:
            borders = boundaries(kmeans(weight.detach().flatten().float(), len(self.bits)))
            cuts = np.searchsorted(ordered, borders.cpu().numpy(), side="right")
        members = [p for p in np.split(ordered, cuts) if len(p)]
        return [(float(p[0]), float(p.mean(dtype=np.float64)), float(p[-1])) for p in members]

    def grid(self, weight: Tensor) -> Grid:
        """Levels of all clusters in ascending order, priced by index and position."""
        cells = self.cells(weight)
        bits = self.bits[: len(cells)]
        ends = [_ends(cell, b) for cell, b in zip(cells, bits, strict=True)]
        numbers = stored_numbers(np.concatenate(ends).astype(np.float32))
        levels = torch.from_numpy(_levels(numbers, bits)).to(weight)[None]
        free = Grid(levels, torch.zeros_like(levels))
        if not self.entropy_coded:
            return free
        codes = nearest(weight, free)
        counts = torch.bincount(codes.flatten(), minlength=levels.shape[1]).cpu().numpy()
        return Grid(levels, torch.from_numpy(code_lengths(frequency_table(counts)))[None].to(weight))

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write the bit-widths, the ends of every cluster's levels, and the symbols."""
        levels = grid.levels[0].cpu().numpy()
        symbols = codes.flatten().cpu().numpy()
        sizes = np.array([1 << b for b in self.bits])
        sizes = sizes[: np.searchsorted(np.cumsum(sizes), len(levels)) + 1]
        stops = np.cumsum(sizes)
        ends = [levels[[stop - size, stop - 1][: min(size, 2)]] for stop, size in zip(stops, sizes, strict=True)]
        table = bytes(self.bits[: len(sizes)]) + pack_numbers(np.concatenate(ends))
        if not self.entropy_coded:
            return bytes([_FIXED, len(sizes)]) + table + pack_bits(symbols, _code_bits(len(levels)))
        joint, split = _pack_joint(symbols, len(levels)), _pack_split(symbols, sizes)
        flag, body = (_JOINT, joint) if len(joint) <= len(split) else (0, split)
        return bytes([len(sizes) | flag]) + table + body

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        fixed = payload[:1] == bytes([_FIXED])
        payload = payload[fixed:]
        clusters = payload[0] & 0x7F if payload else 0
        bits = tuple(payload[1 : 1 + clusters])
        if not 1 <= clusters <= MAX_CLUSTERS or len(bits) < clusters or max(bits) > MAX_BITS:
            raise ArtifactError("a clustered layer has a broken head")
        count = sum(min(1 << b, 2) for b in bits)
        levels = _levels(unpack_numbers(payload[1 + clusters :], count), bits)
        body = payload[1 + clusters + 4 + 2 * count :]
        if fixed:
            return torch.from_numpy(_unpack_fixed(body, levels, rows * columns).reshape(rows, columns))
        if payload[0] & _JOINT:
            table, stream = body[: len(levels)], body[len(levels) :]
            symbols: NDArray[np.integer] = decode_symbols(stream, table, rows * columns, size=len(levels))
        else:
            symbols = _unpack_split(body, np.array([1 << b for b in bits]), rows * columns)
        return torch.from_numpy(look_up(levels, symbols).reshape(rows, columns))


def _variance(values: NDArray[np.floating]) -> float:
    return float(values.var(dtype=np.float64))


def _ends(cell: Cell, bits: int) -> list[float]:
    """First and last of 2^bits equally spaced positions that cover a cell; its centroid for zero bits."""
    low, centroid, high = cell
    half_step = (high - low) / (2 << bits)
    return [centroid] if bits == 0 else [low + half_step, high - half_step]


def _levels(numbers: Floats, bits: tuple[int, ...]) -> Floats:
    """All levels from the ends of every cluster's levels."""
    levels, at = [], 0
    for b in bits:
        used = min(1 << b, 2)
        first, last = np.float64(numbers[at]), np.float64(numbers[at + used - 1])
        levels.append(first + (last - first) * (np.arange(1 << b) / max((1 << b) - 1, 1)))
        at += used
    return np.concatenate(levels).astype(np.float32)


def _code_bits(levels: int) -> int:
    """Bits of a code of fixed length; one at least."""
    return max((levels - 1).bit_length(), 1)


def _unpack_fixed(body: bytes, levels: Floats, count: int) -> Floats:
    """Values of codes of fixed length; those beyond the levels are NaN until they are refused."""
    padded = np.pad(levels, (0, (1 << _code_bits(len(levels))) - len(levels)), constant_values=np.nan)
    values: Floats = unpack_levels(body, padded, count)
    if len(padded) > len(levels) and np.isnan(values).any():
        raise ArtifactError(f"a clustered layer holds a code beyond its {len(levels)} levels")
    return values


def _pack_joint(symbols: Ints, count: int) -> bytes:
    """One table for all (cluster, position) symbols."""
    table = frequency_table(np.bincount(symbols, minlength=count))
    return table + encode_symbols(symbols, table)


def _pack_split(symbols: Ints, sizes: Ints) -> bytes:
    """A table for the cluster index; positions in fixed length, cluster after cluster."""
    starts = np.cumsum(sizes) - sizes
    owner = look_up(np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes), symbols)
    table = frequency_table(np.array([np.count_nonzero(owner == m) for m in range(len(sizes))]))
    index = encode_symbols(owner, table)
    positions = [
        pack_bits((symbols[owner == m] - starts[m]).astype(np.uint8), size.item().bit_length() - 1)
        for m, size in enumerate(sizes)
        if size > 1
    ]
    return table + len(index).to_bytes(4, "little") + index + b"".join(positions)


def _unpack_split(body: bytes, sizes: Ints, count: int) -> Ints:
    table, at = body[: len(sizes)], len(sizes) + 4
    end = at + int.from_bytes(body[len(sizes) : at], "little")
    owner = decode_symbols(body[at:end], table, count, size=len(sizes))
    symbols = (np.cumsum(sizes) - sizes)[owner]
    for m, size in enumerate(sizes):
        bits, members = size.item().bit_length() - 1, owner == m
        at, end = end, end + (-(-int(members.sum()) * bits // 8))
        if bits:
            symbols[members] += unpack_bits(body[at:end], bits, int(members.sum()))
    if end != len(body):
        raise ArtifactError(f"a clustered layer of {len(body)} bytes should have {end}")
    return symbols
