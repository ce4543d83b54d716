"""Trellis-coded quantization, entropy-coded: 1 dB less error than the equal step in the same bytes.

Index k of the first quantizer means the level 2 k + 1/2, in steps, of the second its negative, so that neither holds
zero. Where weights are small against the step, index 0 therefore means less than 1/2.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ravn.codecs.base import Grid, as_matrix
from ravn.codecs.dependent import PARITY_CHECKS, chain_length, second_quantizer
from ravn.codecs.entropy_coder import MAX_SYMBOLS, Symbols, code_lengths, frequency_table
from ravn.codecs.packing import look_up
from ravn.codecs.rounding import Curvature
from ravn.codecs.scales import best_fit, class_tables
from ravn.codecs.shapes import OCTAVE
from ravn.codecs.stepped import LARGEST, SteppedCodec
from ravn.codecs.symbols import Classes, pack_symbols, unpack_symbols, worthwhile_classes
from ravn.codecs.two_tables import unpack_two_tables
from ravn.codecs.viterbi import Alphabet, cheapest_paths, compensated_paths
from ravn.errors import ArtifactError, InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

SAMPLE = 1 << 16
"""Weights on which code lengths are fitted before the search, in pieces of `PIECE`."""

PIECE = 64
PASSES = 2
"""Searches that fit the code lengths, each on those of the one before."""

MARGIN = 3
"""Indices beyond the outermost weight: the search looks at levels on both sides."""

OFFSET = 1
"""Of the levels 2 k + 1/2, in quarters of the distance of neighbours."""

NARROW = -3
"""Width in quarter octaves of two steps: classes below it have other levels of index 0 (`RESTS`)."""

RESTS = (0.5, 0.25, 0.125, 0.0)
"""What index 0 means, in steps: in wide classes, and in those less than 3, 6, and more quarter octaves below."""

_BELOW = 3
_HEAD = struct.Struct("<BB")
_SYMMETRIC, _DEAD_ZONE, _STATES, _MIRRORED = 0x80, 0x40, 0x3E, 0x01


@dataclass(frozen=True)
class TrellisGrid(Grid):
    """The levels of the first quantizer; what a code means depends on the codes before it.

    Args:
        codec: whose levels they are.
        low: index of the first level, even.
        wide: the first class in which index 0 means half a step.
        found: classes of weights; None where there is one table for all, whose class is 0.
    """

    codec: "TrellisCodec"
    low: int
    wide: int
    found: Classes | None

    def values(self, codes: Tensor) -> Tensor:
        """Values of codes, shape (rows, columns)."""
        symbols = codes.int().cpu().numpy()
        classes = None if self.found is None else self.found.scales.classes.ravel()
        values = self.codec.reconstructed(symbols, self.low, self.levels.shape[1], classes, self.wide)
        return torch.from_numpy(values).to(self.levels)

    def alphabet(self, price: float, counts: Ints | None = None) -> Alphabet:
        """Levels of every class and what they cost.

        Args:
            price: of a bit, in squared steps.
            counts: how often each class uses each level, shape (classes, K); as in plain rounding if unknown.
        """
        size = self.levels.shape[1]
        used = np.zeros(1, np.int64) if self.found is None else self.found.used
        levels = 2 * torch.arange(self.low, self.low + size).repeat(len(used), 1) + 0.5
        levels[:, -self.low] = torch.tensor(RESTS)[_rests(used, self.wide)]
        lengths = self.lengths
        if counts is not None:
            if self.found is None:
                tables = [frequency_table(counts[0])]
            else:
                fit = best_fit(used, counts, self.low, offset=OFFSET, start=self.found.fit)
                tables = class_tables(fit, used, self.low, size)
            lengths = torch.from_numpy(np.stack([code_lengths(table) for table in tables])).to(lengths)
        return Alphabet(self.low, levels.to(lengths), price * lengths)


@dataclass(frozen=True)
class TrellisCodec(SteppedCodec):
    """Levels near `n * step`, n integer; which of them a weight may take depends on the weights before it.

    Args:
        step: distance of neighbouring levels, in units of the weight; each quantizer has every other one, so that
            it compares with half the step of the entropy codec.
        states: states of the machine, 4, 8, 16 or 32: more are nearer to Shannon and slower to search.
        spectral: quantize kernels as spectra.
    """

    name: ClassVar[str] = "trellis"
    states: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.states, int) or self.states not in PARITY_CHECKS:
            raise InputError(f"a trellis of {self.states!r} states is impossible; give one of {list(PARITY_CHECKS)}")

    def grid(self, weight: Tensor) -> Grid:
        """Levels that cover the weight, priced by how often plain rounding would choose them."""
        return self.shaped_grid(weight)

    def shaped_grid(self, weight: Tensor) -> Grid:
        """The same, priced by the scales of channels and positions where that saves bytes."""
        values = as_matrix(weight) / self.step
        reach = float(values.abs().max())
        if reach / 2 + MARGIN >= MAX_SYMBOLS // 2:
            raise InputError(f"a step of {self.step} needs more than {MAX_SYMBOLS} levels; give a larger one")
        if (reach + 2 * MARGIN + 2) * self.step > LARGEST:
            raise InputError(f"a step of {self.step} needs levels beyond float32; give another one")
        half = int(reach / 2) + MARGIN
        low, high = -(half + half % 2), half | 1
        levels = (2 * torch.arange(low, high + 1, dtype=torch.float32, device=weight.device) + 0.5) * self.step
        symbols = (values / 2 - 0.25).round_().int().sub_(low).cpu().numpy()
        found = worthwhile_classes(weight, symbols, low, len(levels), offset=OFFSET)
        if found is None:
            lengths = code_lengths(frequency_table(np.bincount(symbols.ravel(), minlength=len(levels))))[None]
            width = OCTAVE * float(values.abs().mean().mul(1.3 / 2).clamp_min(2.0**-99).log2())
            classes = None
        else:
            lengths, width = found.lengths(low, len(levels)), found.fit.width
            classes = torch.from_numpy(found.places).to(weight.device)
        wide = min(max(NARROW - int(width), 0), 255)
        priced = torch.from_numpy(lengths).to(levels)
        return TrellisGrid(levels[None], priced, self, low, wide, found, classes=classes)

    def quantize(self, weight: Tensor, grid: Grid, *, price: float = 0.0, curvature: Curvature | None = None) -> Tensor:
        """Search the path of least squared error and price.

        Args:
            weight: shape (rows, columns).
            grid: what `shaped_grid` fitted.
            price: cost of one bit in squared units of the weight.
            curvature: of the layer's inputs, in the natural order of columns, for error compensation; rows of more
                than `LONGEST` columns are not compensated.

        Returns:
            Codes, int64 of shape (rows, columns).
        """
        grid = cast("TrellisGrid", grid)
        rows, columns = weight.shape
        length = chain_length(rows, columns)
        values = weight / self.step
        classes = torch.zeros(1, 1, device=weight.device) if grid.classes is None else grid.classes
        alphabet = self._fitted(values, classes, grid, price / self.step**2)
        if curvature is None or length % columns:
            if grid.classes is not None:
                classes = _in_chains(classes, length)
            paths = cheapest_paths(_in_chains(values, length), classes, alphabet, states=self.states)
            return paths.flatten()[: weight.numel()].reshape(rows, columns).long()
        return compensated_paths(
            values, classes, alphabet, curvature=curvature, states=self.states, stacked=length // columns
        ).long()

    def _fitted(self, values: Tensor, classes: Tensor, grid: TrellisGrid, price: float) -> Alphabet:
        """Levels at the prices that they have on a sample, once it is searched at these prices."""
        alphabet = grid.alphabet(price)
        if not price:
            return alphabet
        many, size = -(-values.numel() // SAMPLE), grid.levels.shape[1]
        sample, owners = _pieces(values)[::many], classes if grid.classes is None else _pieces(classes)[::many]
        for _ in range(PASSES):
            codes = cheapest_paths(sample, owners, alphabet, states=self.states)
            joint = (owners.long() * size + codes).flatten()
            counts = torch.bincount(joint, minlength=alphabet.levels.numel()).reshape(-1, size)
            alphabet = grid.alphabet(price, counts.cpu().numpy())
        return alphabet

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write step, machine, the class where index 0 means half a step, and the indices."""
        grid = cast("TrellisGrid", grid)
        lowest = int(codes.min())
        symbols = codes.int().sub_(lowest).cpu().numpy()
        head = self.packed_step() + _HEAD.pack(self.states | _MIRRORED, grid.wide)
        scales = None if grid.found is None else grid.found.scales
        return head + pack_symbols(symbols, grid.low + lowest, scales, offset=OFFSET)

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote, and what it wrote when each quantizer had a table of its own."""
        step, body = TrellisCodec.unpacked_step(payload)
        if len(body) < _HEAD.size:
            raise ArtifactError(f"a trellis-coded layer of {len(payload)} bytes is too short")
        flags, wide = _HEAD.unpack_from(body)
        states, symmetric, dead_zone = flags & _STATES, bool(flags & _SYMMETRIC), bool(flags & _DEAD_ZONE)
        mirrored = bool(flags & _MIRRORED)
        if states not in PARITY_CHECKS or (mirrored and (symmetric or dead_zone)):
            raise ArtifactError("a trellis-coded layer has a broken head")
        if not mirrored:
            return unpack_two_tables(
                body[1:], rows, columns, step=step, states=states, symmetric=symmetric, dead_zone=dead_zone
            )
        found = unpack_symbols(body[_HEAD.size :], rows, columns, offset=OFFSET)
        if 2 * (max(-found.low, found.low + found.size) + 1) * step > LARGEST:
            raise ArtifactError("a trellis-coded layer has levels beyond float32")
        symbols = found.symbols.reshape(rows, columns)
        codec = TrellisCodec(step, states)
        return torch.from_numpy(codec.reconstructed(symbols, found.low, found.size, found.classes, wide))

    def reconstructed(
        self, symbols: Symbols, low: int, size: int, classes: NDArray[np.uint8] | None, wide: int
    ) -> Floats:
        """Values of symbols, shape (rows, columns).

        Args:
            symbols: in 0..size-1, shape (rows, columns).
            low: index that symbol 0 means.
            size: number of symbols.
            classes: of all weights, flat; None where all are of class 0.
            wide: the first class in which index 0 means half a step.
        """
        flat = symbols.ravel()
        second = second_quantizer((flat + low) & 1, chain_length(*symbols.shape), self.states)
        levels = np.tile(2.0 * np.arange(low, low + size) + 0.5, (len(RESTS), 1))
        if 0 <= -low < size:
            levels[:, -low] = RESTS
        levels *= self.step
        table = np.concatenate([levels, 0.0 - levels]).astype(np.float32)
        rests = _rests(np.arange(256 if classes is not None else 1), wide).astype(np.int32)
        place = rests[0] if classes is None else rests[classes]
        return look_up(table.ravel(), (place + len(RESTS) * second) * np.int32(size) + flat).reshape(symbols.shape)


def _rests(classes: NDArray[np.integer], wide: int) -> Ints:
    """Place in `RESTS` of each class."""
    return np.clip(-((classes.astype(np.int64) - wide) // _BELOW), 0, len(RESTS) - 1)


def _in_chains(matrix: Tensor, length: int) -> Tensor:
    """A matrix cut into chains, the last one filled up with zeros; shape (chains, length)."""
    return functional.pad(matrix.flatten(), (0, -matrix.numel() % length)).reshape(-1, length)


def _pieces(matrix: Tensor) -> Tensor:
    """A matrix cut into short pieces, without the rest; shape (pieces, length)."""
    flat = matrix.flatten()
    return flat[: len(flat) // PIECE * PIECE].reshape(-1, PIECE) if len(flat) >= PIECE else flat[None]
