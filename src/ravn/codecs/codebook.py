"""k-means codebook: 2^bits shared values (Deep Compression, arXiv 1510.00149; HAQ, arXiv 1811.08886)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ravn.codecs.base import Codec, Grid, nearest
from ravn.codecs.entropy_coder import code_lengths, decode_symbols, encode_symbols, frequency_table
from ravn.codecs.kmeans import kmeans
from ravn.codecs.packing import look_up, pack_bits, pack_numbers, stored_numbers, unpack_levels, unpack_numbers
from ravn.errors import ArtifactError, InputError

MAX_BITS = 8
_CODED = 0x80


@dataclass(frozen=True)
class CodebookCodec(Codec):
    """At most 2^bits reconstruction levels, placed by k-means (Eq. 1); codes in fixed length, or entropy-coded.

    Args:
        bits: logarithm of the number of levels, 1 to 8.
        entropy_coded: write codes at their entropy where that is smaller than at fixed length.
    """

    name: ClassVar[str] = "codebook"
    bits: int
    entropy_coded: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise InputError(f"a codebook of {self.bits} bits is impossible; give 1 to {MAX_BITS}")

    def grid(self, weight: Tensor) -> Grid:
        """Centroids of the weights, priced by how often they are nearest."""
        centroids = kmeans(weight.flatten(), 1 << self.bits)
        levels = torch.from_numpy(np.unique(stored_numbers(centroids.float().cpu().numpy()))).to(weight)
        grid = Grid(levels[None], torch.zeros_like(levels)[None])
        if not self.entropy_coded:
            return grid
        counts = torch.bincount(nearest(weight, grid).flatten(), minlength=len(levels)).cpu().numpy()
        return Grid(levels[None], torch.from_numpy(code_lengths(frequency_table(counts)))[None].to(weight))

    def pack(self, codes: Tensor, grid: Grid) -> bytes:
        """Write one byte of configuration, the number of levels, the levels, and the codes."""
        symbols = codes.flatten().cpu().numpy()
        size = grid.levels.shape[1]
        table = frequency_table(np.bincount(symbols, minlength=size))
        fixed = pack_bits(symbols, self.bits)
        coded = table + encode_symbols(symbols, table)
        use_coded = self.entropy_coded and len(coded) < len(fixed)
        head = bytes([self.bits | (_CODED if use_coded else 0), size - 1])
        return head + pack_numbers(grid.levels[0].cpu().numpy()) + (coded if use_coded else fixed)

    @staticmethod
    def unpack(payload: bytes, rows: int, columns: int) -> Tensor:
        """Read what `pack` wrote."""
        if len(payload) < 2 or not 1 <= payload[0] & 0x7F <= MAX_BITS:
            raise ArtifactError("a codebook layer has a broken head")
        bits, size = payload[0] & 0x7F, payload[1] + 1
        levels = unpack_numbers(payload[2:], size)
        body = payload[6 + 2 * size :]
        if payload[0] & _CODED:
            values = look_up(levels, decode_symbols(body[size:], body[:size], rows * columns, size=size))
        else:
            # No level is NaN, so NaN marks the codes that have none.
            padded = np.pad(levels, (0, max((1 << bits) - size, 0)), constant_values=np.nan)
            values = unpack_levels(body, padded[: 1 << bits], rows * columns)
            if size < 1 << bits and np.isnan(values).any():
                raise ArtifactError(f"a code points beyond the {size} levels of its codebook")
        return torch.from_numpy(values.reshape(rows, columns))
