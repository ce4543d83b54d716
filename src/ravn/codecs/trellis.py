"""Trellis-coded quantization, entropy-coded: 1 dB less error than the equal step in the same bytes."""

import struct
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ravn.codecs.base import Codec, Grid
from ravn.codecs.dependent import PARITY_CHECKS, Quantizers, multiples
from ravn.codecs.entropy_coder import MAX_SYMBOLS, SymbolReader, code_lengths, frequency_table
from ravn.codecs.packing import look_up
from ravn.codecs.rounding import Curvature
from ravn.codecs.tables import read_tables
from ravn.codecs.viterbi import cheapest_paths, compensated_paths
from ravn.codecs.walk import chain_length, in_steps, read_walk, walked, write_walk
from ravn.errors import ArtifactError, InputError

Ints = NDArray[np.int64]

SAMPLE = 1 << 18
"""Weights on which code lengths are fitted before the search, in pieces of `PIECE`."""

PIECE = 64
PASSES = 2
"""Searches that fit the code lengths, each on those of the one before."""

MARGIN = 4
"""Levels beyond the outermost weight: every half of a quantizer has one of them."""

_HEAD = struct.Struct("<fB")
_SYMMETRIC, _DEAD_ZONE, _STATES = 0x80, 0x40, 0x3F
_LEAST, _MOST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TrellisCodec(Codec):
    """Levels `n * step`, n integer; which of them a weight may take depends on the weights before it.

    Args:
        step: distance of neighbouring levels, in units of the weight; each quantizer has every other one, so that
            it compares with half the step of the entropy codec.
        states: states of the machine, 4, 8, 16 or 32: more are nearer to Shannon and slower to search.
    """

    name: ClassVar[str] = "trellis"
    step: float
    states: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.step, Real) or not _LEAST <= self.step <= _MOST:
            raise InputError(f"a step of {self.step} is impossible; give a positive number")
        if not isinstance(self.states, int) or self.states not in PARITY_CHECKS:
            raise InputError(f"a trellis of {self.states!r} states is impossible; give one of {list(PARITY_CHECKS)}")
        object.__setattr__(self, "step", float(str(np.float32(self.step))))

    def grid(self, weight: Tensor) -> Grid:
        """Levels that cover the weight, priced by how often plain rounding would choose them."""
        scaled = torch.round(weight / self.step)
        reach = float(scaled.abs().max())
        if reach + MARGIN >= MAX_SYMBOLS // 2:
            raise InputError(f"a step of {self.step} needs more than {MAX_SYMBOLS} levels; give a larger one")
        if (reach + MARGIN) * self.step > _MOST:
            raise InputError(f"a step of {self.step} needs levels beyond float32; give another one")
        low, high = min(int(scaled.min()), 0) - MARGIN, max(int(scaled.max()), 0) + MARGIN
        levels = torch.arange(low, high + 1, dtype=torch.float32, device=weight.device) * self.step
        counts = torch.bincount((scaled - low).long().flatten(), minlength=high - low + 1)
        lengths = code_lengths(frequency_table(counts.cpu().numpy()))
        return Grid(levels[None], torch.from_numpy(lengths)[None].to(levels))

    def quantize(self, weight: Tensor, grid: Grid, *, price: float = 0.0, curvature: Curvature | None = None) -> Tensor:
        """Search the path of least squared error and price.

        Args:
            weight: shape (rows, columns).
            grid: what `grid` fitted.
            price: cost of one bit in squared units of the weight.
            curvature: of the layer's inputs, in the natural order of columns, for error compensation; rows of more
                than `LONGEST` columns are not compensated.

        Returns:
            Codes, int64 of shape (rows, columns).
        """
        rows, columns = weight.shape
        length = chain_length(rows, columns)
        values = weight / self.step
        chains = functional.pad(values.flatten(), (0, -weight.numel() % length)).reshape(-1, length)
        toll = price / self.step**2
        quantizers, lengths = self._fitted(values, self._low(grid), grid.levels.shape[1], toll)
        if curvature is None or length % columns:
            paths, _ = cheapest_paths(chains, quantizers, lengths, price=toll, states=self.states)
            return paths.flatten()[: weight.numel()].reshape(rows, columns).long()
        paths, _ = compensated_paths(
            values,
            quantizers,
            lengths,
            curvature=curvature,
            price=toll,
            states=self.states,
            stacked=length // columns,
        )
        return paths.long()

    def _low(self, grid: Grid) -> int:
        return round(float(grid.levels[0, 0]) / self.step)

    def _fitted(self, values: Tensor, low: int, size: int, price: float) -> tuple[Quantizers, Tensor]:
        """Quantizers with or without a dead zone, whichever cost less on a sample, and their code lengths."""
        flat = values.flatten()
        pieces = flat[: len(flat) // PIECE * PIECE].reshape(-1, PIECE) if len(flat) >= PIECE else flat[None]
        sample = pieces[:: -(-pieces.numel() // SAMPLE)]
        plain = _counts(sample.round().long() - low, size)
        candidates = []
        for dead_zone in (False, True):
            quantizers = Quantizers(low, low + size - 1, dead_zone)
            lengths = quantizers.lengths(np.stack([plain, plain])).to(values)
            for _ in range(PASSES):
                codes, owners = cheapest_paths(sample, quantizers, lengths, price=price, states=self.states)
                cost = (codes + low - sample).square().mean() + price * lengths[owners.long(), codes.long()].mean()
                lengths = quantizers.lengths(np.stack([_counts(codes[owners == q], size) for q in (0, 1)])).to(values)
            candidates.append((float(cost), quantizers, lengths))
        return min(candidates, key=lambda candidate: candidate[0])[1:]

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write step, machine, tables and stream.

        Raises:
            InputError: the codes don't follow the trellis.
        """
        low, size, count = self._low(grid), grid.levels.shape[1], codes.numel()
        steps = in_steps(codes.flatten().int().cpu().numpy(), chain_length(*codes.shape))
        for dead_zone in (False, True):
            quantizers = Quantizers(low, low + size - 1, dead_zone)
            found = walked(steps, count, quantizers, self.states)
            if found is not None:
                tables, stream = write_walk(steps, *found, count, quantizers)
                flags = self.states | _SYMMETRIC * tables.symmetric | _DEAD_ZONE * dead_zone
                return _HEAD.pack(self.step, flags) + tables.stored + stream
        raise InputError("these codes don't follow the trellis; let the codec choose them")

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        if len(payload) < _HEAD.size:
            raise ArtifactError(f"a trellis-coded layer of {len(payload)} bytes is too short")
        step, flags = _HEAD.unpack_from(payload)
        states, dead_zone = flags & _STATES, bool(flags & _DEAD_ZONE)
        if not 0 < step < np.inf or states not in PARITY_CHECKS:
            raise ArtifactError("a trellis-coded layer has a broken head")
        body = payload[_HEAD.size :]
        tables = read_tables(body, (True, dead_zone), symmetric=bool(flags & _SYMMETRIC))
        places = [low + np.arange(len(table)) for low, table in zip(tables.lows, tables.tables, strict=True)]
        levels = np.concatenate([multiples(p, q, dead_zone=dead_zone) for q, p in enumerate(places)])
        if np.abs(levels).max(initial=0) * step > _MOST:
            raise ArtifactError("a trellis-coded layer has levels beyond float32")
        reader = SymbolReader(body[len(tables.stored) :], tables.tables)
        symbols = read_walk(reader, tables, states, rows * columns, chain_length(rows, columns))
        values = look_up((levels * np.float64(step)).astype(np.float32), symbols)
        return torch.from_numpy(values.reshape(rows, columns))


def _counts(codes: Tensor, size: int) -> Ints:
    counts: Ints = torch.bincount(codes.flatten(), minlength=size).cpu().numpy()
    return counts
