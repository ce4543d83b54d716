"""Equal step, entropy-coded: the optimum for squared error at high rate, at any real rate.

A payload has one frequency table for all weights, or one for each class of weights that channels and kernel positions
of like scale make up, whichever is smaller.
"""

import struct
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ravn.codecs.base import Codec, Grid, as_matrix
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
from ravn.codecs.packing import look_up
from ravn.codecs.scales import Fit, Scales, best_fit, class_tables, fitted_scales, read_scales, spread_table
from ravn.codecs.shapes import MOST_SYMBOLS, SHAPES
from ravn.errors import ArtifactError, InputError

_HEAD = struct.Struct("<fhH")
_SCALED = struct.Struct("<HHhBbb")
"""Symbols, kernel positions, width, shape, factor on zero, spread of the scales; after a head of zero symbols."""

_WIDEST = 256
_LEAST, _MOST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ScaledGrid(Grid):
    """Levels that are priced by what is known of a weight's scale.

    Args:
        scales: what the classes come from.
    """

    scales: Scales


@dataclass(frozen=True)
class EntropyCodec(Codec):
    """Levels `k * step`, k integer, coded at the entropy of k.

    Args:
        step: distance of neighbouring levels, in units of the weight.
    """

    name: ClassVar[str] = "entropy"
    step: float

    def __post_init__(self) -> None:
        # The file holds the step as float32: what is configured is what is stored, in the fewest digits.
        if not isinstance(self.step, Real) or not _LEAST <= self.step <= _MOST:
            raise InputError(f"a step of {self.step} is impossible; give a positive number")
        object.__setattr__(self, "step", float(str(np.float32(self.step))))

    def grid(self, weight: Tensor) -> Grid:
        """Levels that cover the weight, priced by how often plain rounding would choose them."""
        indices = (weight / self.step).round_()
        reach = float(indices.abs().max())
        if reach + 1 >= MAX_SYMBOLS // 2:
            raise InputError(f"a step of {self.step} needs more than {MAX_SYMBOLS} levels; give a larger one")
        if reach * self.step > _MOST:
            raise InputError(f"a step of {self.step} needs levels beyond float32; give another one")
        low, high = int(indices.min()) - 1, int(indices.max()) + 1
        levels = torch.arange(low, high + 1, dtype=torch.float32, device=weight.device) * self.step
        counts = torch.bincount(indices.sub_(low).to(torch.int32).flatten(), minlength=high - low + 1)
        lengths = code_lengths(frequency_table(counts.cpu().numpy()))
        return Grid(levels[None], torch.from_numpy(lengths)[None].to(levels))

    def shaped_grid(self, weight: Tensor) -> Grid:
        """The levels of `grid`, priced by the scales of channels and positions where that saves bytes."""
        plain = self.grid(as_matrix(weight))
        size = plain.levels.shape[1]
        if weight.dim() < 2 or not weight.numel() or size > MOST_SYMBOLS or weight[0, 0].numel() >= MAX_SYMBOLS:
            return plain
        low = round(float(plain.levels[0, 0]) / self.step)
        scales = fitted_scales(weight)
        symbols = (as_matrix(weight) / self.step).round_().to(torch.int32).sub_(low).cpu().numpy()
        used, counts = scales.counts(symbols, size)
        fit = best_fit(used, counts, low)
        one_table = float((counts.sum(0) * plain.lengths[0].cpu().numpy()).sum()) + 8 * size
        if fit.bits + scales.side_bits() + 8 * _SCALED.size >= one_table:
            return plain
        lengths = np.stack([code_lengths(table) for table in class_tables(fit, used, low, size)])
        classes = np.searchsorted(used, scales.classes).astype(np.uint8)
        priced = torch.from_numpy(lengths).to(plain.levels)
        return ScaledGrid(plain.levels, priced, scales, classes=torch.from_numpy(classes).to(weight.device))

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write step, lowest index, table and stream; or, where that is smaller, the scales instead of the table."""
        low = round(float(grid.levels[0, codes.min()]) / self.step)
        symbols = codes.to(torch.int32).sub_(codes.min()).cpu().numpy()
        table = frequency_table(np.bincount(symbols.ravel()))
        plain = _HEAD.pack(self.step, low, len(table)) + table + encode_symbols(symbols.ravel(), table)
        if not isinstance(grid, ScaledGrid):
            return plain
        scaled = _HEAD.pack(self.step, low, 0) + _pack_scaled(symbols, len(table), low, grid.scales)
        return min(plain, scaled, key=len)

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        if len(payload) < _HEAD.size:
            raise ArtifactError(f"an entropy-coded layer of {len(payload)} bytes is too short")
        step, low, size = _HEAD.unpack_from(payload)
        body = payload[_HEAD.size :]
        if not 0 < step < np.inf:
            raise ArtifactError("an entropy-coded layer has a broken head")
        if size:
            symbols = decode_symbols(body[size:], body[:size], rows * columns, size=size)
        else:
            symbols, size = _unpack_scaled(body, low, rows, columns)
        levels = np.arange(low, low + size) * np.float64(step)
        if np.abs(levels).max() > np.finfo(np.float32).max:
            raise ArtifactError("an entropy-coded layer has levels beyond float32")
        return torch.from_numpy(look_up(levels.astype(np.float32), symbols).reshape(rows, columns))


def _pack_scaled(symbols: Symbols, size: int, low: int, scales: Scales) -> bytes:
    """Numbers that tables are made from, then one stream: the scales, and the symbols class by class."""
    used, counts = scales.counts(symbols, size)
    fit = best_fit(used, counts, low)
    spread, side = scales.side_table()
    head = _SCALED.pack(size, len(scales.positions), fit.width, fit.shape, fit.zero, spread)
    ordered = symbols.ravel()[scales.classes.ravel().argsort(kind="stable")]
    pieces = list(enumerate(np.split(ordered, np.cumsum(counts.sum(1))[:-1]), 1))
    stream = [*reversed(pieces), (0, scales.side_symbols)]
    return head + encode_pieces(stream, [side, *class_tables(fit, used, low, size)])


def _unpack_scaled(body: bytes, low: int, rows: int, columns: int) -> tuple[Symbols, int]:
    """Symbols, shape (rows * columns,), and how many there are to choose from."""
    if len(body) < _SCALED.size:
        raise ArtifactError("an entropy-coded layer ends in its head")
    size, positions, width, shape, zero, spread = _SCALED.unpack_from(body)
    if not 0 < size <= MOST_SYMBOLS or abs(width) > _WIDEST or shape not in SHAPES:
        raise ArtifactError("an entropy-coded layer has a broken head")
    reader = SymbolReader(body[_SCALED.size :], [spread_table(spread)])
    classes = read_scales(reader, rows, columns, positions).classes.ravel()
    counts = np.bincount(classes)
    used = np.flatnonzero(counts)
    reader.add(class_tables(Fit(width, shape, zero), used, low, size))
    found = [reader.read(number, count) for number, count in enumerate(counts[used].tolist(), 1)]
    reader.finish()
    symbols = np.empty(rows * columns, np.int32)
    symbols[classes.argsort(kind="stable")] = np.concatenate(found)
    return symbols, size
