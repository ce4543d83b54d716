"""Integers as bytes: under one table, or one for each class of weights whose channels and kernel positions scale alike.

What is written is the lowest symbol (int16) and the number of symbols (uint16), then a table and a stream; or zero for
the number, then what tables are made from, and a stream that begins with the scales.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.entropy_coder import (
    MAX_SYMBOLS,
    SymbolReader,
    Symbols,
    code_lengths,
    decode_symbols,
    encode_pieces,
    encode_symbols,
    frequency_table,
)
from ravn.codecs.scales import (
    Fit,
    Floats,
    Ints,
    Scales,
    best_fit,
    class_tables,
    fitted_scales,
    read_scales,
    spread_table,
)
from ravn.codecs.shapes import MOST_SYMBOLS, SHAPES
from ravn.errors import ArtifactError

_HEAD = struct.Struct("<hH")
_SCALED = struct.Struct("<HHhBbb")
"""Symbols, kernel positions, width, shape, factor on zero, spread of the scales."""

_WIDEST = 256


@dataclass(frozen=True)
class Classes:
    """Weights by scale, and what tables of their own save.

    Args:
        scales: what the classes come from.
        used: classes that occur.
        fit: of their tables.
    """

    scales: Scales
    used: Ints
    fit: Fit

    @property
    def places(self) -> NDArray[np.uint8]:
        """Place in `used` of the class of every weight, shape (rows, columns)."""
        return np.searchsorted(self.used, self.scales.classes).astype(np.uint8)

    def lengths(self, low: int, size: int) -> Floats:
        """Bits of every symbol in each class that occurs, shape (classes, size)."""
        return np.stack([code_lengths(table) for table in class_tables(self.fit, self.used, low, size)])


def worthwhile_classes(
    weight: Tensor, symbols: NDArray[np.integer], low: int, size: int, *, offset: int = 0
) -> Classes | None:
    """Classes of a weight, if they save more bits than they cost.

    Args:
        weight: any shape of two or more dimensions: outputs, inputs, positions.
        symbols: what would be written, in 0..size-1, shape (rows, columns).
        low: the lowest symbol's level, in steps.
        size: number of symbols.
        offset: of all levels, in quarter steps.
    """
    if weight.dim() < 2 or not weight.numel() or size > MOST_SYMBOLS or weight[0, 0].numel() >= MAX_SYMBOLS:
        return None
    scales = fitted_scales(weight)
    used, counts = scales.counts(symbols, size)
    fit = best_fit(used, counts, low, offset=offset)
    total = counts.sum(0)
    one_table = float((total * code_lengths(frequency_table(total))).sum()) + 8 * size
    saves = fit.bits + scales.side_bits() + 8 * _SCALED.size < one_table
    return Classes(scales, used, fit) if saves else None


def pack_symbols(symbols: Symbols, low: int, scales: Scales | None = None, *, offset: int = 0) -> bytes:
    """Write symbols, shape (rows, columns), the lowest of which is 0 and means `low`.

    Args:
        symbols: shape (rows, columns).
        low: the lowest symbol's level, in steps.
        scales: what classes come from; None for one table.
        offset: of all levels, in quarter steps.
    """
    if scales is None:
        table = frequency_table(np.bincount(symbols.ravel()))
        return _HEAD.pack(low, len(table)) + table + encode_symbols(symbols.ravel(), table)
    size = int(symbols.max()) + 1
    used, counts = scales.counts(symbols, size)
    fit = best_fit(used, counts, low, offset=offset)
    spread, side = scales.side_table()
    head = _SCALED.pack(size, len(scales.positions), fit.width, fit.shape, fit.zero, spread)
    ordered = symbols.ravel()[scales.classes.ravel().argsort(kind="stable")]
    pieces = list(enumerate(np.split(ordered, np.cumsum(counts.sum(1))[:-1]), 1))
    stream = [*reversed(pieces), (0, scales.side_symbols)]
    return _HEAD.pack(low, 0) + head + encode_pieces(stream, [side, *class_tables(fit, used, low, size)])


@dataclass(frozen=True)
class Unpacked:
    """What `pack_symbols` wrote.

    Args:
        symbols: shape (rows * columns,).
        low: the lowest symbol's level, in steps.
        size: number of symbols to choose from.
        classes: of every weight, shape (rows * columns,); None under one table.
    """

    symbols: Symbols
    low: int
    size: int
    classes: NDArray[np.uint8] | None


def unpack_symbols(body: bytes, rows: int, columns: int, *, offset: int = 0) -> Unpacked:
    """Read what `pack_symbols` wrote.

    Raises:
        ArtifactError: it could not have written this.
    """
    if len(body) < _HEAD.size:
        raise ArtifactError("an entropy-coded layer ends in its head")
    low, size = _HEAD.unpack_from(body)
    body = body[_HEAD.size :]
    if size:
        return Unpacked(decode_symbols(body[size:], body[:size], rows * columns, size=size), low, size, None)
    if len(body) < _SCALED.size:
        raise ArtifactError("an entropy-coded layer ends in its head")
    size, positions, width, shape, zero, spread = _SCALED.unpack_from(body)
    if not 0 < size <= MOST_SYMBOLS or abs(width) > _WIDEST or shape not in SHAPES:
        raise ArtifactError("an entropy-coded layer has a broken head")
    reader = SymbolReader(body[_SCALED.size :], [spread_table(spread)])
    classes = read_scales(reader, rows, columns, positions).classes.ravel()
    counts = np.bincount(classes)
    used = np.flatnonzero(counts)
    reader.add(class_tables(Fit(width, shape, zero, offset), used, low, size))
    found = [reader.read(number, count) for number, count in enumerate(counts[used].tolist(), 1)]
    reader.finish()
    symbols = np.empty(rows * columns, np.int32)
    symbols[classes.argsort(kind="stable")] = np.concatenate(found)
    return Unpacked(symbols, low, size, classes)
