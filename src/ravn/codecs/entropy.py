"""Equal step, entropy-coded: the optimum for squared error at high rate, at any real rate.

A payload has one frequency table for all weights, or one for each class of weights that channels and kernel positions
of like scale make up, whichever is smaller.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ravn.codecs.base import Grid, as_matrix
from ravn.codecs.entropy_coder import MAX_SYMBOLS, code_lengths, frequency_table
from ravn.codecs.packing import look_up
from ravn.codecs.scales import Scales
from ravn.codecs.stepped import LARGEST, SteppedCodec
from ravn.codecs.symbols import pack_symbols, unpack_symbols, worthwhile_classes
from ravn.errors import ArtifactError, InputError


@dataclass(frozen=True)
class ScaledGrid(Grid):
    """Levels that are priced by what is known of a weight's scale.

    Args:
        scales: what the classes come from.
    """

    scales: Scales


@dataclass(frozen=True)
class EntropyCodec(SteppedCodec):
    """Levels `k * step`, k integer, coded at the entropy of k.

    Args:
        step: distance of neighbouring levels, in units of the weight.
        spectral: quantize kernels as spectra.
    """

    name: ClassVar[str] = "entropy"

    def grid(self, weight: Tensor) -> Grid:
        """Levels that cover the weight, priced by how often plain rounding would choose them."""
        indices = (weight / self.step).round_()
        reach = float(indices.abs().max())
        if reach + 1 >= MAX_SYMBOLS // 2:
            raise InputError(f"a step of {self.step} needs more than {MAX_SYMBOLS} levels; give a larger one")
        if reach * self.step > LARGEST:
            raise InputError(f"a step of {self.step} needs levels beyond float32; give another one")
        low, high = int(indices.min()) - 1, int(indices.max()) + 1
        levels = torch.arange(low, high + 1, dtype=torch.float32, device=weight.device) * self.step
        counts = torch.bincount(indices.sub_(low).to(torch.int32).flatten(), minlength=high - low + 1)
        lengths = code_lengths(frequency_table(counts.cpu().numpy()))
        return Grid(levels[None], torch.from_numpy(lengths)[None].to(levels))

    def shaped_grid(self, weight: Tensor) -> Grid:
        """The levels of `grid`, priced by the scales of channels and positions where that saves bytes."""
        plain = self.grid(as_matrix(weight))
        indices = (as_matrix(weight) / self.step).round_().to(torch.int32)
        size, low = plain.levels.shape[1], int(indices.min()) - 1
        found = worthwhile_classes(weight, indices.sub_(low).cpu().numpy(), low, size)
        if found is None:
            return plain
        lengths = torch.from_numpy(found.lengths(low, size)).to(plain.levels)
        classes = torch.from_numpy(found.places).to(weight.device)
        return ScaledGrid(plain.levels, lengths, found.scales, classes=classes)

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write step, lowest index, table and stream; or, where that is smaller, the scales instead of the table."""
        low = round(float(grid.levels[0, codes.min()]) / self.step)
        symbols = codes.to(torch.int32).sub_(codes.min()).cpu().numpy()
        forms = [pack_symbols(symbols, low)]
        if isinstance(grid, ScaledGrid):
            forms.append(pack_symbols(symbols, low, grid.scales))
        return self.packed_step() + min(forms, key=len)

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        step, body = EntropyCodec.unpacked_step(payload)
        found = unpack_symbols(body, rows, columns)
        levels = np.arange(found.low, found.low + found.size) * np.float64(step)
        if np.abs(levels).max() > LARGEST:
            raise ArtifactError("an entropy-coded layer has levels beyond float32")
        return torch.from_numpy(look_up(levels.astype(np.float32), found.symbols).reshape(rows, columns))
