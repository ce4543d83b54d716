"""Scales of weights by output channel, input channel and kernel position: what a weight's neighbours say about it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.entropy_coder import SymbolReader, Symbols, code_lengths
from ravn.codecs.shapes import BETWEEN, GAUSS, OCTAVE, OFFSETS, SHAPES, masses, power, tables
from ravn.errors import ArtifactError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

REACH = 24
"""Largest factor of one channel or position, in quarter octaves either way."""

_ROUNDS = 3
_TINY = 1e-30
_SPREADS = range(-8, 17, 2)
_ZEROS = range(-4, 13)


@dataclass(frozen=True)
class Scales:
    """The scale of weight (o, i, k) relative to the layer's is 2^((outputs[o] + inputs[i] + positions[k]) / 4).

    Args:
        outputs: of each row, int64, shape (rows,).
        inputs: of each input channel, shape (channels,).
        positions: of each kernel position, shape (positions,); columns are (channel, position).
    """

    outputs: Ints
    inputs: Ints
    positions: Ints

    @cached_property
    def classes(self) -> NDArray[np.uint8]:
        """Sum of the three for every weight, counted from the lowest that can be, shape (rows, columns)."""
        columns = (self.inputs[:, None] + self.positions).reshape(1, -1)
        return (self.outputs[:, None] + columns + 3 * REACH).astype(np.uint8)

    @property
    def side_symbols(self) -> Symbols:
        """All three as symbols 0..2 REACH, one after the other."""
        return (np.concatenate([self.outputs, self.inputs, self.positions]) + REACH).astype(np.int32)

    def side_table(self) -> tuple[int, bytes]:
        """The spread that suits them best, and the table that it stands for."""
        symbols = self.side_symbols
        costs = [float(code_lengths(spread_table(spread))[symbols].sum()) for spread in _SPREADS]
        spread = _SPREADS[int(np.argmin(costs))]
        return spread, spread_table(spread)

    def side_bits(self) -> float:
        """Bits of the three together."""
        return float(code_lengths(self.side_table()[1])[self.side_symbols].sum())

    def counts(self, symbols: NDArray[np.integer], size: int) -> tuple[Ints, Ints]:
        """Classes that occur, and how often each has each symbol, shape (classes, size).

        Args:
            symbols: in 0..size-1, shape (rows, columns).
            size: number of symbols.
        """
        joint = self.classes.astype(np.int64)
        joint *= size
        joint += symbols
        count = np.bincount(joint.ravel(), minlength=(6 * REACH + 1) * size).reshape(-1, size)
        used = np.flatnonzero(count.any(1))
        return used, count[used]


def spread_table(spread: int) -> bytes:
    """Frequency table of channel scales under a spread in quarter octaves."""
    return tables(np.array([spread]), GAUSS, 0, -REACH, 2 * REACH + 1)[0]


def fitted_scales(weight: Tensor) -> Scales:
    """Scales whose product follows the magnitudes of a weight.

    Args:
        weight: any shape of two or more dimensions: outputs, inputs, positions.
    """
    size = weight.abs().reshape(weight.shape[0], weight.shape[1], -1).float()
    size = size / size.mean().clamp_min(_TINY)
    sides = [torch.ones(shape, device=size.device) for shape in ((len(size), 1, 1), (1, size.shape[1], 1), (1, 1, 1))]
    for _ in range(_ROUNDS):
        for axis in range(3):
            others = [side for number, side in enumerate(sides) if number != axis]
            along = tuple(number for number in range(3) if number != axis)
            sides[axis] = (size / (others[0] * others[1])).mean(along, keepdim=True).clamp(power(-99), power(99))
    quarters = [side.flatten().log2() * OCTAVE for side in sides]
    rounded = [(q - q.median()).round().clamp(-REACH, REACH).long().cpu().numpy() for q in quarters]
    return Scales(*rounded)


@dataclass(frozen=True)
class Fit:
    """Tables of all classes from three numbers.

    Args:
        width: scale of class 0 in quarter octaves of the step.
        shape: one of `SHAPES`.
        zero: factor on zero, in quarter octaves.
        offset: of all levels, in quarter steps.
        bits: of the symbols that it was fitted to, nearly.
    """

    width: int
    shape: int
    zero: int
    offset: int = 0
    bits: float = np.inf


def best_fit(used: Ints, counts: Ints, low: int, *, offset: int = 0, start: Fit | None = None) -> Fit:
    """The tables under which symbols take the fewest bits: descent along one number after the other.

    Args:
        used: classes that occur.
        counts: how often each has each symbol, shape (classes, size).
        low: the lowest symbol's level, in steps.
        offset: of all levels, in quarter steps.
        start: where the descent begins.
    """
    if start is None:
        levels = np.abs(np.arange(low, low + counts.shape[1]) + offset / OFFSETS)
        typical = (counts.sum(1) @ used) / counts.sum()
        mean = max(float((counts @ levels).sum() / counts.sum()), 0.05)
        start = Fit(round(OCTAVE * np.log2(1.3 * mean) - typical), BETWEEN, 0, offset)
    best = _tried(start, used, counts, low)
    while True:
        trials = [replace(best, width=best.width + move) for move in (-2, -1, 1, 2)]
        trials += [replace(best, shape=shape) for shape in SHAPES if shape != best.shape]
        trials += [replace(best, zero=best.zero + move) for move in (-1, 1) if best.zero + move in _ZEROS]
        found = min((_tried(trial, used, counts, low) for trial in trials), key=lambda fit: fit.bits)
        if found.bits >= best.bits - 1e-6:
            return best
        best = found


def _tried(fit: Fit, used: Ints, counts: Ints, low: int) -> Fit:
    mass = np.stack([masses(fit.width + c, fit.shape, low, counts.shape[1], fit.offset) for c in used.tolist()])
    if 0 <= -low < counts.shape[1]:
        mass[:, -low] *= power(fit.zero)
    shares = np.maximum(mass / mass.sum(1, keepdims=True), 1e-6)
    return replace(fit, bits=float(-(counts * np.log2(shares)).sum()))


def class_tables(fit: Fit, used: Ints, low: int, size: int) -> list[bytes]:
    """Frequency table of every class that occurs."""
    return tables(used + fit.width, fit.shape, fit.zero, low, size, fit.offset)


def read_scales(reader: SymbolReader, rows: int, columns: int, positions: int) -> Scales:
    """Read scales from a stream whose first table is that of their spread.

    Raises:
        ArtifactError: the positions don't fit the columns.
    """
    if not positions or columns % positions:
        raise ArtifactError(f"{columns} columns are not made of {positions} kernel positions each")
    channels = columns // positions
    values = reader.read(0, rows + channels + positions).astype(np.int64) - REACH
    return Scales(values[:rows], values[rows : rows + channels], values[rows + channels :])
