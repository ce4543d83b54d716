"""Equal step and equal length: the plain quantizer that everything is compared with."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.base import Codec, Grid
from ravn.codecs.packing import pack_bits, pack_numbers, stored_numbers, unpack_levels, unpack_numbers
from ravn.errors import ArtifactError, InputError

MAX_BITS = 8
_CLIPS = np.linspace(0.2, 1.0, 41).tolist()
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
_LEAST_STEP = 2 * float(np.finfo(np.float32).tiny)
"""Half of a smaller step is not exact in float32."""


@dataclass(frozen=True)
class UniformCodec(Codec):
    """2^bits levels `(k - (2^bits - 1) / 2) * step`, the step chosen for the least squared error.

    Args:
        bits: length of every code, 1 to 8.
        per_channel: one step for every row (output channel), or one for the whole tensor.
    """

    name: ClassVar[str] = "uniform"
    bits: int
    per_channel: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise InputError(f"uniform codes of {self.bits} bits are impossible; give 1 to {MAX_BITS}")

    def grid(self, weight: Tensor) -> Grid:
        """Levels of every row, symmetric around zero."""
        rows = weight if self.per_channel else weight.reshape(1, -1)
        steps = stored_numbers(best_steps(rows, 1 << self.bits).cpu().numpy())
        steps[steps < _LEAST_STEP] = 0
        return self._levels(torch.from_numpy(steps).to(weight))

    def _levels(self, steps: Tensor) -> Grid:
        count = 1 << self.bits
        places = torch.arange(count, device=steps.device) - (count - 1) / 2
        levels = places.to(steps)[None] * steps[:, None]
        return Grid(levels, torch.zeros_like(levels))

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write one byte of configuration, the steps, and the codes."""
        # The innermost level is half a step: doubling it is exact, dividing the outermost one is not.
        steps = (grid.levels[:, 1 << (self.bits - 1)] * 2).cpu().numpy()
        head = bytes([self.bits | (0x80 if self.per_channel else 0)])
        return head + pack_numbers(steps) + pack_bits(codes.flatten().cpu().numpy(), self.bits)

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        steps = UniformCodec.steps(payload, rows)
        bits, channels = payload[0] & 0x7F, len(steps)
        if float(np.abs(steps).max(initial=0)) * ((1 << bits) - 1) / 2 > float(np.finfo(np.float32).max):
            raise ArtifactError("a uniform layer has levels beyond float32")
        # Not through the grid: 2^bits levels for each row may be far more than the codes.
        places = (np.arange(1 << bits) - ((1 << bits) - 1) / 2).astype(np.float32)
        values = unpack_levels(payload[5 + 2 * channels :], places, rows * columns).reshape(rows, columns)
        values *= steps[:, None]
        return torch.from_numpy(values)

    @staticmethod
    def steps(payload: bytes, rows: int) -> NDArray[np.float32]:
        """Step of every row, or the one that all share, shape (rows,) or (1,).

        Raises:
            ArtifactError: the payload has no such head.
        """
        bits, channels = (payload[0] & 0x7F, rows if payload[0] & 0x80 else 1) if payload else (0, 0)
        if not 1 <= bits <= MAX_BITS:
            raise ArtifactError(f"uniform codes of {bits} bits are impossible")
        return unpack_numbers(payload[1:], channels)


def best_steps(rows: Tensor, count: int) -> Tensor:
    """Step of every row that gives the least squared error with `count` levels, shape (rows,)."""
    # In units of the peak, no square overflows or vanishes.
    peak = rows.abs().amax(1, keepdim=True)
    rows = rows / peak.clamp_min(_SMALLEST)
    least, best = torch.full_like(peak, torch.inf), torch.zeros_like(peak)
    for clip in _CLIPS:
        step = 2 * clip / count
        codes = torch.clamp(torch.floor(rows / step), -count // 2, count // 2 - 1)
        error = ((codes + 0.5) * step - rows).square().sum(1, keepdim=True)
        best = best.masked_fill(error < least, step)
        least = torch.minimum(error, least)
    return (best * peak)[:, 0]
