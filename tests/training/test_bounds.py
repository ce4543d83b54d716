"""Settings of training are taken within their bounds, and refused by name, value and what would be right outside."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.errors import InputError
from ravn.training.bounds import ensure_count, ensure_number

quick = settings(deadline=None, derandomize=True)
numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, st.floats(allow_infinity=True, allow_nan=True))
@quick
def test_a_number_is_refused_exactly_outside_its_bounds(one: float, other: float, value: float) -> None:
    low, high = sorted((one, other))
    if low <= value <= high:
        ensure_number("warmup", value, low, high)
        return
    with pytest.raises(InputError) as refusal:
        ensure_number("warmup", value, low, high)
    sentence = f"a recipe with warmup = {value!r} can't be trained; give a number from {low} to {high}"
    assert str(refusal.value) == sentence


@given(numbers, numbers)
@quick
def test_without_an_upper_bound_all_but_infinity_are_taken(low: float, value: float) -> None:
    for found in (max(low, value), low):
        ensure_number("rate", found, low)
    for broken in (math.inf, -math.inf, math.nan, low - 1, 10**400, -(10**400)):
        with pytest.raises(InputError, match=r"give a number of at least"):
            ensure_number("rate", broken, low)


@given(st.integers(-100, 100), st.integers(-100, 100))
@quick
def test_a_count_is_refused_exactly_below_the_least(value: int, least: int) -> None:
    if value >= least:
        ensure_count("epochs", value, least)
        return
    with pytest.raises(InputError, match=f"epochs = {value} can't be trained; .* whole number of at least {least}$"):
        ensure_count("epochs", value, least)


@pytest.mark.parametrize("value", ["3", None, [3], 3 + 0j])
def test_what_is_no_number_is_refused_as_such(value: object) -> None:
    with pytest.raises(InputError, match="rate = "):
        ensure_number("rate", value, 0)
    with pytest.raises(InputError, match="give a whole number"):
        ensure_count("epochs", value, 0)


@pytest.mark.parametrize("value", [3.0, math.nan, math.inf])
def test_a_count_is_whole_in_its_type_too(value: float) -> None:
    with pytest.raises(InputError, match="give a whole number"):
        ensure_count("epochs", value, 0)
