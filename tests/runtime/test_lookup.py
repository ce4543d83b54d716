"""Codes of fixed length are read back as written by a slow packer, through stages of any widths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.runtime.lookup import values_of
from ravn.runtime.stages import Stage, pieces, unstaged

quick = settings(deadline=None, derandomize=True, max_examples=60)
counts = st.integers(1, 300)
seeds = st.integers(0, 10**6)


def stage(codes: np.ndarray, width: int) -> Stage:
    """The bits of all codes, written as text."""
    padded = [*codes.tolist(), *[0] * (-len(codes) % 8)]
    planes, below = [], width
    for piece in pieces(width):
        below -= piece
        text = "".join(format(code >> below & (1 << piece) - 1, f"0{piece}b") for code in padded)
        planes.append(torch.tensor([int(text[at : at + 8], 2) for at in range(0, len(text), 8)], dtype=torch.uint8))
    return Stage(width, tuple(planes))


def some_table(size: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(st.integers(1, 16), counts, seeds)
@quick
def test_one_stage_is_read_whatever_its_width(width: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << width, count)
    one = (stage(codes, width),)
    assert unstaged(one)[:count].tolist() == codes.tolist()
    table = some_table(1 << width, torch.float32, seed)
    assert torch.equal(values_of(one, table)[:count], table[codes])


@given(st.integers(1, 8), st.integers(1, 9), counts, seeds)
@quick
def test_what_the_first_stage_leaves_over_stands_in_the_second(first: int, second: int, count: int, seed: int) -> None:
    escape = (1 << first) - 1
    ranks = np.random.default_rng(seed).integers(0, escape + (1 << second), count)
    ranks[count // 2] = escape
    left = ranks[ranks >= escape] - escape
    both = (stage(np.minimum(ranks, escape), first), stage(left, second))
    assert unstaged(both)[:count].tolist() == ranks.tolist()
    table = some_table(escape + (1 << second), torch.float32, seed)
    assert torch.equal(values_of(both, table)[:count], table[ranks])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 10])
def test_a_table_of_fewer_levels_than_codes_keeps_its_dtype(width: int, dtype: torch.dtype) -> None:
    size = (1 << width) // 2 + 1
    codes = np.random.default_rng(width).integers(0, size, 77)
    table = some_table(size, dtype, width)
    found = values_of((stage(codes, width),), table)
    assert found.dtype == dtype
    assert torch.equal(found[:77], table[codes])


@pytest.mark.parametrize("width", range(1, 13))
def test_nothing_but_zeros_follows_the_codes_and_less_than_eight_of_them(width: int) -> None:
    for count in (1, 7, 8, 9, 16):
        found = unstaged((stage(np.full(count, 1), width),))
        assert len(found) - count == -count % 8
        assert not found[count:].any()


@given(seeds)
@quick
def test_reading_leaves_planes_and_tables_alone(seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 8, 50)
    one, table = stage(codes, 3), some_table(8, torch.float32, seed)
    before = [tensor.clone() for tensor in (*one.planes, table)]
    first = values_of((one,), table)
    first.mul_(0)
    assert torch.equal(values_of((one,), table)[:50], table[codes])
    assert all(torch.equal(a, b) for a, b in zip(before, (*one.planes, table), strict=True))
