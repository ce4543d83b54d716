"""A normalization is the formula, survives its words, and is refused where it would give what is no number."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.adapters.normalization import KNOWN, Normalization, normalization_of, parse_normalization
from ravn.errors import InputError

quick = settings(deadline=None, derandomize=True)
means = st.floats(-10, 10)
deviations = st.floats(1e-3, 10)
normalizations = st.lists(st.tuples(means, deviations), min_size=1, max_size=4).map(
    lambda pairs: Normalization(*(tuple(column) for column in zip(*pairs, strict=True)))
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


@given(normalizations, st.integers(0, 255))
@quick
def test_every_pixel_is_shifted_and_scaled(normalization: Normalization, pixel: int) -> None:
    channels = len(normalization.mean)
    inputs = normalization(torch.full((2, channels, 1, 3), pixel, dtype=torch.uint8))
    assert inputs.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(normalization.mean, normalization.std, strict=True)):
        expected = (pixel / 255 - mean) / std
        assert torch.allclose(inputs[:, channel], torch.tensor(expected), rtol=1e-4, atol=1e-3 / std)


@given(normalizations)
@quick
def test_words_and_descriptions_are_read_back(normalization: Normalization) -> None:
    words = "/".join(",".join(map(repr, side)) for side in (normalization.mean, normalization.std))
    assert parse_normalization(words) == normalization
    described = {"mean": list(normalization.mean), "std": list(normalization.std), "size": 8}
    assert normalization_of(described) == normalization


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_are_those_of_three_channels(name: str) -> None:
    assert parse_normalization(name) == Normalization(*KNOWN[name])
    assert len(KNOWN[name][0]) == len(KNOWN[name][1]) == 3


@pytest.mark.parametrize("preprocessing", [{}, {"mean": [0.5]}, {"std": [0.5]}, {"size": 3}])
def test_what_brings_no_normalization_brings_none(preprocessing: dict[str, Any]) -> None:
    assert normalization_of(preprocessing) is None


@given(values, values)
@quick
def test_whatever_a_file_says_is_a_normalization_or_refused(mean: object, std: object) -> None:
    try:
        found = normalization_of({"mean": mean, "std": std})
    except InputError as error:
        assert "has no numbers for mean and std" in str(error)  # noqa: PT017 - it may be one
        return
    assert found is not None
    assert 0 < len(found.mean) == len(found.std)
    assert all(map(math.isfinite, found.mean + found.std))
    assert min(found.std) > 0


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([], []),
        ([0.5], []),
        ([0.5], [0.0]),
        ([0.5], [-1.0]),
        ([math.nan], [1.0]),
        ([0.5], [math.inf]),
        ([10**400], [1]),
    ],
)
def test_what_would_give_no_numbers_is_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(InputError, match="has no numbers for mean and std"):
        normalization_of({"mean": mean, "std": std})


@given(st.text(alphabet="0123456789.,/-+enaif ", max_size=12))
@quick
def test_whatever_is_typed_is_a_normalization_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_normalization(text), Normalization)
    except InputError as error:
        assert f"--normalize {text!r} is not understood" in str(error)  # noqa: PT017 - it may be one
