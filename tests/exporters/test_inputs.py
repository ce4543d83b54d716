"""Inputs of a network of which only the file is at hand; whatever the file says, it is a tensor or one sentence."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.errors import InputError
from ravn.exporters.inputs import ensure_taken, example_input
from ravn.exporters.verification import ensure_as_accurate, largest_difference, random_like

quick = settings(deadline=None, derandomize=True)
scalars = st.none() | st.booleans() | st.integers(max_value=64) | st.integers(10**6) | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=6), max_leaves=6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans())
@quick
def test_a_shape_in_words_is_that_shape(sides: list[int], whole: bool) -> None:
    found = example_input({}, ("int64:" if whole else "") + "x".join(map(str, sides)))
    assert found.shape == (1, *sides)
    assert found.dtype == (torch.int64 if whole else torch.float32)


@pytest.mark.parametrize(
    "shape", ["", "x", "3x", "0", "3x0x3", "00x3", "3x-1", "3X8", "1x1x1x1x1x1", "123456", "int8:3"]
)
def test_other_words_are_refused(shape: str) -> None:
    with pytest.raises(InputError, match=f"--input '{shape}' is not understood; give a shape such as 3x224x224"):
        example_input({}, shape)


@pytest.mark.parametrize(
    ("preprocessing", "shape"),
    [
        ({"mean": [0.5], "size": 8}, (1, 1, 8, 8)),
        ({"mean": [0, 0, 0], "size": [4, 6]}, (1, 3, 4, 6)),
        ({"mean": [0, 0], "size": [5]}, (1, 2, 5)),
    ],
)
def test_a_file_tells_the_shape(preprocessing: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert example_input(preprocessing, None).shape == shape


@given(values, values)
@quick
def test_whatever_a_file_says_is_a_shape_or_refused(mean: object, size: object) -> None:
    sides = size if isinstance(size, list) else [size]
    if any(type(side) is int and 64 < side <= 99_999 for side in sides):
        return
    try:
        found = example_input({"mean": mean, "size": size}, None)
    except InputError as error:
        assert "give --input, such as 3x224x224" in str(error)  # noqa: PT017 - it may be one
        return
    assert found.shape[:2] == (1, len(mean))
    assert found.dim() <= 6


@given(st.integers(1, 5), st.integers(0, 9))
@quick
def test_random_inputs_are_alike_and_decided_by_the_seed(batch: int, seed: int) -> None:
    for dtype in (torch.float32, torch.float64, torch.int64):
        example = torch.zeros(1, 3, 2, dtype=dtype)
        drawn = random_like(example, batch, seed)
        assert drawn.shape == (batch, 3, 2)
        assert drawn.dtype == dtype
        assert torch.equal(drawn, random_like(example, batch, seed))
        assert dtype != torch.int64 or set(drawn.flatten().tolist()) <= {0, 1}


def test_a_network_that_refuses_inputs_is_told_with_their_shape() -> None:
    ensure_taken(nn.Linear(3, 2), torch.zeros(1, 3), "net.ravn")
    with pytest.raises(InputError, match=r"net\.ravn can't take inputs of 4: mat1 and mat2 .*; give --input"):
        ensure_taken(nn.Linear(3, 2), torch.zeros(1, 4), "net.ravn")


@pytest.mark.parametrize(("factor", "close"), [(1.0, True), (1 + 5e-5, True), (1 + 5e-4, False), (float("nan"), False)])
def test_outputs_are_compared_relative_to_the_largest(factor: float, close: bool) -> None:
    model = nn.Linear(3, 2).eval()

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        return (model(inputs).detach() * factor,)

    if close:
        assert largest_difference(model, run, torch.zeros(1, 3)) == pytest.approx(factor - 1, abs=1e-6)
        return
    with pytest.raises(InputError, match=r"outputs differ by .*, more than 0\.0001: nothing kept"):
        largest_difference(model, run, torch.zeros(1, 3))


def test_outputs_of_another_shape_are_refused() -> None:
    model = nn.Linear(3, 2).eval()
    with pytest.raises(InputError, match="outputs of other shapes for a batch of 1"):
        largest_difference(model, lambda inputs: (model(inputs)[:, :1].detach(),), torch.zeros(1, 3))
    with pytest.raises(InputError, match="outputs of other shapes for a batch of 3"):
        largest_difference(model, lambda inputs: (model(inputs)[:1].detach(),), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("before", "after", "fine"), [(90, 90, 1), (90, 95, 1), (90, 89.9, 1), (90, 89.8, 0), (90, float("nan"), 0)]
)
def test_accuracy_may_be_lost_up_to_what_is_allowed(before: float, after: float, fine: int) -> None:
    if fine:
        ensure_as_accurate(before, after, 0.1000001)
        return
    with pytest.raises(InputError, match=r"and 0\.1 points are allowed: nothing kept"):
        ensure_as_accurate(before, after, 0.1)


@pytest.mark.parametrize("preprocessing", [{"mean": [0.5] * 3, "size": [99_999] * 4}, {"mean": [0.5], "size": 99_999}])
def test_an_input_beyond_all_memory_is_refused_before_it_is_made(preprocessing: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"an input of [13]x99999x99999.* has more than 268,435,456 numbers; give"):
        example_input(preprocessing, None)
    with pytest.raises(InputError, match="an input of 99999x99999x2 has more than"):
        example_input({}, "int64:99999x99999x2")
