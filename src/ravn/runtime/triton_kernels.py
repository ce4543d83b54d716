"""The one door to Triton: kernels that read codes where they lie, in the memory of a GPU.

Codes of the second stage lie one after the other, wherever in the first stage they were left over: where a block of the
first goes on in the second is the number of codes in all blocks before it that say so. These are counted first.
"""

import contextlib
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ravn.runtime.stages import Stage, pieces

BLOCK = 1024
"""Codes that a program takes at a time."""
_MOST_PIECES = 4


@triton.jit
def _piece(plane, at, inside, BITS: tl.constexpr):
    first = at * BITS
    byte = tl.load(plane + (first >> 3), mask=inside, other=0).to(tl.int32)
    return (byte >> (8 - BITS - (first & 7)).to(tl.int32)) & ((1 << BITS) - 1)


@triton.jit
def _codes(p0, p1, p2, p3, at, inside, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr):
    """Codes of a stage, from the highest piece of their bits down to the lowest; a piece of 0 bits is none."""
    code = _piece(p0, at, inside, B0)
    if B1:
        code = (code << B1) | _piece(p1, at, inside, B1)
    if B2:
        code = (code << B2) | _piece(p2, at, inside, B2)
    if B3:
        code = (code << B3) | _piece(p3, at, inside, B3)
    return code


@triton.jit
def _count(
    p0, p1, p2, p3, counts, total, size, ESCAPE: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many of `size` neighbouring codes go on in the second stage; one program each."""
    begin = tl.program_id(0).to(tl.int64) * size
    found = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, size, BLOCK):
        within = start + tl.arange(0, BLOCK)
        at = begin + within
        inside = (within < size) & (at < total)
        code = _codes(p0, p1, p2, p3, at, inside, B0, B1, B2, B3)
        found += ((code == ESCAPE) & inside).to(tl.int32)
    tl.store(counts + tl.program_id(0), tl.sum(found, 0))


@triton.jit
def _values(
    p0, p1, p2, p3, q0, q1, q2, q3, table, at, inside, before, ESCAPE: tl.constexpr, TWO: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, C3: tl.constexpr,
):  # fmt: skip
    """The table's entries at some codes, and how many of the second stage they took."""
    code = _codes(p0, p1, p2, p3, at, inside, B0, B1, B2, B3)
    taken = 0
    if TWO:
        escaped = (code == ESCAPE) & inside
        ones = escaped.to(tl.int32)
        place = before + tl.cumsum(ones, 0) - ones
        further = _codes(q0, q1, q2, q3, place, escaped, C0, C1, C2, C3)
        code = tl.where(escaped, further + ESCAPE, code)
        taken = tl.sum(ones, 0)
    return tl.load(table + code, mask=inside, other=0.0), taken


@triton.jit
def _unpack(
    p0, p1, p2, p3, q0, q1, q2, q3, table, offsets, scales, out, total, columns,
    ESCAPE: tl.constexpr, TWO: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, C3: tl.constexpr,
    SCALED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of weights, in the order of memory."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < total
    before = tl.load(offsets + tl.program_id(0))
    values, _ = _values(
        p0, p1, p2, p3, q0, q1, q2, q3, table, at, inside, before, ESCAPE, TWO, B0, B1, B2, B3, C0, C1, C2, C3
    )
    if SCALED:
        values *= tl.load(scales + at // columns, mask=inside, other=0.0)
    tl.store(out + at, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _product(
    p0, p1, p2, p3, q0, q1, q2, q3, table, offsets, scales, bias, inputs, out, batch, columns,
    ESCAPE: tl.constexpr, TWO: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, C3: tl.constexpr,
    SCALED: tl.constexpr, BIASED: tl.constexpr, BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One output for all inputs of a batch: a row is unpacked where it is used, and never stored."""
    row = tl.program_id(0)
    examples = tl.arange(0, BATCH)
    total = tl.zeros((BATCH,), tl.float32)
    before = tl.load(offsets + row)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < columns
        at = row.to(tl.int64) * columns + column
        values, taken = _values(
            p0, p1, p2, p3, q0, q1, q2, q3, table, at, inside, before, ESCAPE, TWO, B0, B1, B2, B3, C0, C1, C2, C3
        )
        before += taken
        places = examples[:, None] * columns + column[None, :]
        seen = tl.load(inputs + places, mask=(examples < batch)[:, None] & inside[None, :], other=0.0)
        total += tl.sum(seen.to(tl.float32) * values[None, :], 1)
    if SCALED:
        total *= tl.load(scales + row)
    if BIASED:
        total += tl.load(bias + row).to(tl.float32)
    places = examples.to(tl.int64) * tl.num_programs(0) + row
    tl.store(out + places, total.to(out.dtype.element_ty), mask=examples < batch)


def weight(
    stages: Sequence[Stage], table: Tensor, scales: Tensor | None, matrix: tuple[int, int], dtype: torch.dtype
) -> Tensor:
    """The table's entry at every code, times the scale of its row.

    Args:
        stages: codes, of all entries and less than eight more.
        table: float32, shape (K,).
        scales: float32, shape (rows,), or None.
        matrix: rows and columns.
        dtype: of what is given.

    Returns:
        Shape (rows, columns).
    """
    out = torch.empty(matrix, dtype=dtype, device=table.device)
    blocks = triton.cdiv(out.numel(), BLOCK)
    with _on(table.device):
        _unpack[(blocks,)](
            *_planes(stages), table, _offsets(stages, blocks, BLOCK, out.numel()), _or(scales, table), out,
            out.numel(), matrix[1], **_widths(stages), SCALED=scales is not None, BLOCK=BLOCK,
        )  # fmt: skip
    return out


def product(
    stages: Sequence[Stage], table: Tensor, scales: Tensor | None, inputs: Tensor, bias: Tensor | None, rows: int
) -> Tensor:
    """What a linear layer gives, sums in float32.

    Args:
        stages: codes of the weight, shape (rows, columns).
        table: float32, shape (K,).
        scales: float32, shape (rows,), or None.
        inputs: a few of them, contiguous, shape (batch, columns).
        bias: shape (rows,), or None.
        rows: number of outputs.

    Returns:
        Of the inputs' dtype, shape (batch, rows).
    """
    batch, columns = inputs.shape
    out = torch.empty(batch, rows, dtype=inputs.dtype, device=inputs.device)
    with _on(table.device):
        _product[(rows,)](
            *_planes(stages), table, _offsets(stages, rows, columns, rows * columns), _or(scales, table),
            _or(bias, table), inputs, out, batch, columns, **_widths(stages), SCALED=scales is not None,
            BIASED=bias is not None, BATCH=triton.next_power_of_2(batch), BLOCK=BLOCK,
        )  # fmt: skip
    return out


def _offsets(stages: Sequence[Stage], programs: int, size: int, total: int) -> Tensor:
    """Where in the second stage each of the parts of the first goes on, int64, shape (programs,)."""
    first = stages[0]
    if len(stages) == 1:
        return torch.zeros(programs, dtype=torch.int64, device=first.planes[0].device)
    counts = torch.empty(programs, dtype=torch.int64, device=first.planes[0].device)
    bits = _bits(first)
    _count[(programs,)](*_planes(stages)[:_MOST_PIECES], counts, total, size, first.escape, *bits, BLOCK=BLOCK)
    return counts.cumsum(0) - counts


def _planes(stages: Sequence[Stage]) -> list[Tensor]:
    """Four planes for each of two stages; what is missing is never read."""
    padded = [[*stage.planes, *[stage.planes[0]] * (_MOST_PIECES - len(stage.planes))] for stage in stages]
    return [*padded[0], *padded[-1]]


def _widths(stages: Sequence[Stage]) -> dict[str, int | bool]:
    """What the kernels must know when they are compiled."""
    first = {f"B{number}": bits for number, bits in enumerate(_bits(stages[0]))}
    second = {f"C{number}": bits for number, bits in enumerate(_bits(stages[-1]))}
    return {"ESCAPE": stages[0].escape, "TWO": len(stages) > 1, **first, **second}


def _bits(stage: Stage) -> tuple[int, ...]:
    found = pieces(stage.width)
    return found + (0,) * (_MOST_PIECES - len(found))


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    return other if tensor is None else tensor


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
