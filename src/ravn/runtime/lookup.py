"""Unpacking at the speed of memory: a byte looks up all the weights that its codes stand for."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from ravn.runtime.stages import Stage, pieces

_WIDE = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""Dtypes that carry so many bytes: copying one element is quicker than copying a row of a table."""


def values_of(stages: Sequence[Stage], table: Tensor) -> Tensor:
    """The table's entries at the codes of all stages, and less than eight more, shape (n,).

    Args:
        stages: of 8 bits at most.
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
    padded = torch.cat([table, table.new_zeros((1 << stage.width) - len(table))])
    first, *others = zip(pieces(stage.width), stage.planes, strict=True)
    if not others:
        return _expanded(first[1], first[0], padded)
    below, codes = stage.width, None
    for piece, plane in (first, *others):
        below -= piece
        bits = torch.arange(1 << piece, device=table.device).to(torch.uint8) << below
        part = _expanded(plane, piece, bits)
        codes = part if codes is None else codes.add_(part)
    return padded.index_select(0, codes.to(torch.int32)) if codes is not None else padded


def _expanded(plane: Tensor, piece: int, entries: Tensor) -> Tensor:
    """The entry of every piece of every byte, in order.

    Args:
        plane: uint8, shape (bytes,).
        piece: bits of a piece: 1, 2, 4 or 8.
        entries: one for each value of a piece.
    """
    rows = entries[_fields(piece, plane.device)]
    wide = _WIDE.get(rows.shape[1] * rows.element_size())
    if wide is not None and wide.itemsize > rows.element_size():
        rows = rows.view(wide)[:, 0]
    return rows.index_select(0, plane.to(torch.int32)).view(entries.dtype).reshape(-1)


@cache
def _fields(piece: int, device: torch.device) -> Tensor:
    """The pieces of every byte, int64, shape (256, 8 / piece)."""
    with torch.inference_mode(mode=False):
        shifts = torch.arange(8 - piece, -1, -piece, device=device)
        return torch.arange(256, device=device)[:, None] >> shifts & ((1 << piece) - 1)
