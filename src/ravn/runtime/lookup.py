"""Unpacking at the speed of memory: a byte looks up all the weights that its codes stand for."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from ravn.runtime.stages import Stage, pieces

_WIDE = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""Dtypes that carry so many bytes: copying one element is quicker than copying a row of a table."""

_HALF_BYTE = 4


def values_of(stages: Sequence[Stage], table: Tensor) -> Tensor:
    """The table's entries at the codes of all stages, and less than eight more, shape (n,).

    Args:
        stages: the codes.
        table: floating, finite, shape (K,).
    """
    (stage, *later) = stages
    if not later:
        return _looked_up(stage, table)
    # NaN marks what the next stage tells.
    marked = torch.cat([table[: stage.escape], table.new_full((1,), torch.nan)])
    values = _looked_up(stage, marked)
    return values.masked_scatter_(values != values, values_of(later, table[stage.escape :]))


def _looked_up(stage: Stage, table: Tensor) -> Tensor:
    """The table's entry at every code."""
    missing = (1 << stage.width) - len(table)
    full = torch.cat([table, table.new_zeros(missing)]) if missing else table
    widths = pieces(stage.width)
    if len(widths) == 1:
        return _expanded(stage.planes[0], _byte_table(widths[0], full), table.dtype)
    if stage.width <= _HALF_BYTE:
        # Two codes to a byte, from which the rest is that of a stage of four bits: half as many look-ups.
        padded = torch.cat([full, full.new_zeros((1 << _HALF_BYTE) - len(full))])
        return _expanded(_added(stage, widths, torch.uint8), _byte_table(_HALF_BYTE, padded), table.dtype)
    codes = _added(stage, widths, torch.uint8 if stage.width <= 8 else torch.int32)
    return full.index_select(0, codes.to(torch.int32))


def _added(stage: Stage, widths: Sequence[int], kind: torch.dtype) -> Tensor:
    """The codes of a stage from their pieces; where they have less than four bits, two in a byte."""
    below, codes = stage.width, torch.zeros(0)
    for piece, plane in zip(widths, stage.planes, strict=True):
        below -= piece
        rows = _code_table(piece, below, kind, plane.device, paired=stage.width <= _HALF_BYTE)
        part = _expanded(plane, rows, kind)
        codes = codes.add_(part) if len(codes) else part
    return codes


def _expanded(plane: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The row of every byte, one after the other."""
    return rows.index_select(0, plane.to(torch.int32)).view(dtype).reshape(-1)


def _byte_table(piece: int, entries: Tensor) -> Tensor:
    """The entries of all pieces of every byte: 256 rows, or 256 elements of a dtype as wide as a row.

    Args:
        piece: bits of a piece: 1, 2, 4 or 8.
        entries: one for each value of a piece.
    """
    return _widened(entries[_fields(piece, entries.device)])


def _widened(rows: Tensor) -> Tensor:
    """Rows of a table as elements of a dtype that is as wide, if there is one."""
    wide = _WIDE.get(rows.shape[1] * rows.element_size())
    return rows if wide is None or rows.shape[1] == 1 else rows.view(wide)[:, 0]


@cache
def _code_table(piece: int, below: int, kind: torch.dtype, device: torch.device, *, paired: bool) -> Tensor:
    """The pieces of every byte as bits of a code that so many bits lie below, or of two neighbouring ones."""
    with torch.inference_mode(mode=False):
        bits = torch.arange(1 << piece, device=device).to(kind) << below
        if not paired:
            return _byte_table(piece, bits)
        rows = bits[_fields(piece, device)]
        return _widened((rows[:, 0::2] << _HALF_BYTE) | rows[:, 1::2])


@cache
def _fields(piece: int, device: torch.device) -> Tensor:
    """The pieces of every byte, int64, shape (256, 8 / piece)."""
    with torch.inference_mode(mode=False):
        shifts = torch.arange(8 - piece, -1, -piece, device=device)
        return torch.arange(256, device=device)[:, None] >> shifts & ((1 << piece) - 1)
