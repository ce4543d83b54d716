"""Names in three columns come back in their order, and columns that contradict each other are refused."""

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.artifact.checks import MAX_QUOTED, MAX_RANK, brief, column, entry, extent, shapes, strings
from ravn.artifact.names import grouped, ungrouped
from ravn.errors import ArtifactError

quick = settings(deadline=None, derandomize=True)
names = st.lists(st.text("ab.", max_size=6), unique=True, max_size=12)


@given(names)
@quick
def test_names_come_back_in_their_order(given_names: list[str]) -> None:
    assert ungrouped(grouped(given_names)) == given_names
    assert ungrouped(grouped(iter(given_names))) == given_names


@given(names)
@quick
def test_neighbours_of_one_module_share_its_name(given_names: list[str]) -> None:
    table = grouped(given_names)
    modules = [name.rpartition(".")[:2] for name in given_names]
    assert len(table["prefix"]) == len(table["run"]) == len(list(groupby(modules)))
    assert not any("." in rest for rest in table["name"])
    assert all(a != b for a, b in zip(table["prefix"], table["prefix"][1:], strict=False))


TABLE = {"prefix": ["bn1.", "head."], "run": [2, 1], "name": ["weight", "bias", "weight"]}

BROKEN = [
    {"run": [2]},
    {"run": [2, 1, 0]},
    {"run": [1, 1]},
    {"run": [2, 2]},
    {"run": [3, 0]},
    {"run": [4, -1]},
    {"run": [2, True]},
    {"run": [2, 1.0]},
    {"run": "21"},
    {"run": [1 << 60, 1]},
    {"prefix": ["bn1.", 7]},
    {"prefix": None},
    {"prefix": ["bn1.", "head.", "tail."]},
    {"name": ["weight", "bias"]},
    {"name": ["weight", "weight", "weight"]},
    {"name": ["weight", b"bias", "weight"]},
    {"name": {}},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_columns_that_fit_no_names_are_refused(change: dict[str, object]) -> None:
    assert ungrouped(TABLE) == ["bn1.weight", "bn1.bias", "head.weight"]
    with pytest.raises(ArtifactError):
        ungrouped(TABLE | change)


def test_no_columns_are_no_names() -> None:
    assert ungrouped({}) == []
    for missing in TABLE:
        with pytest.raises(ArtifactError):
            ungrouped({key: value for key, value in TABLE.items() if key != missing})


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
@quick
def test_an_entry_has_the_type_that_is_due_or_is_refused(value: object) -> None:
    for default in (0, 0.0, "", [], {}, False):
        assert entry({}, "key", default) == default
        if type(value) is type(default):
            assert entry({"key": value}, "key", default) is value
        else:
            with pytest.raises(ArtifactError, match=f"'key' as a {type(value).__name__}, not a"):
                entry({"key": value}, "key", default)


def test_columns_are_as_long_as_is_due() -> None:
    assert column({"a": [1, 2]}, "a", 2) == [1, 2]
    with pytest.raises(ArtifactError, match="holds 2 values of 'a' where 3 belong"):
        column({"a": [1, 2]}, "a", 3)
    with pytest.raises(ArtifactError, match="'a' that are not text"):
        strings({"a": ["b", None]}, "a")


@pytest.mark.parametrize("shape", [[-1], [1.0], [True], ["2"], 3, None, [1] * (MAX_RANK + 1), [[1]]])
def test_what_is_no_shape_is_refused(shape: object) -> None:
    assert shapes({"shape": [[2, 3], [1] * MAX_RANK, []]}, 3) == [(2, 3), (1,) * MAX_RANK, ()]
    with pytest.raises(ArtifactError, match="not a list of sizes"):
        shapes({"shape": [[2, 3], shape]}, 2)


@given(st.lists(st.integers(0, 50), max_size=5))
@quick
def test_the_extent_bounds_the_elements_and_the_sides(shape: list[int]) -> None:
    elements = 1
    for side in shape:
        elements *= side
    assert extent(tuple(shape)) >= max(elements, *shape, 1)
    assert 0 in shape or extent(tuple(shape)) == elements


@given(st.text(max_size=3 * MAX_QUOTED))
@quick
def test_long_texts_are_cut_and_short_ones_are_not(text: str) -> None:
    assert len(brief(text)) <= MAX_QUOTED + 3
    assert brief(text) == text if len(text) <= MAX_QUOTED else text.startswith(brief(text)[:-3])
