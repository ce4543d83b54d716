"""Every JSON text is a value of the declared types, or a sentence that names the field."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn import InputError, typed_json
from ravn.typed_json import Between, Count

quick = settings(deadline=None, derandomize=True)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@dataclass(frozen=True)
class Leaf:
    size: Count
    share: Annotated[float, Between(0, 1)] = 0.5


@dataclass(frozen=True)
class Tree:
    name: str
    ripe: bool
    leaves: tuple[Leaf, ...]
    place: tuple[int, float] | None = None
    notes: dict[str, float] = field(default_factory=dict)
    rest: Any = None


TREE = {"name": "oak", "ripe": True, "leaves": [{"size": 3}], "place": [1, 2], "notes": {"a": 1}, "rest": [{}]}


def test_values_are_read_as_declared() -> None:
    tree = typed_json.loads(Tree, json.dumps(TREE))
    assert tree == Tree("oak", True, (Leaf(3, 0.5),), (1, 2.0), {"a": 1.0}, [{}])
    assert type(tree.place[1]) is float
    assert typed_json.loads(tuple[Leaf, ...], '[{"size": 0}]') == (Leaf(0),)


def test_what_has_a_default_may_lack() -> None:
    least = {key: TREE[key] for key in ("name", "ripe", "leaves")}
    assert typed_json.loads(Tree, json.dumps(least)) == Tree("oak", True, (Leaf(3),))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "the field 'name' is 3, and must be text"),
        ({"name": None}, "the field 'name' is None, and must be text"),
        ({"ripe": 1}, "the field 'ripe' is 1, and must be true or false"),
        ({"leaves": {}}, "the field 'leaves' is {}, and must be a list"),
        ({"leaves": [3]}, "the field 'leaves[0]' is 3, and must be an object"),
        ({"leaves": [{}]}, "the field 'leaves[0].size' is missing"),
        (
            {"leaves": [{"size": 2}, {"size": -1}]},
            "the field 'leaves[1].size' is -1, and must be a whole number from 0",
        ),
        ({"leaves": [{"size": 2.0}]}, "the field 'leaves[0].size' is 2.0, and must be a whole number"),
        ({"leaves": [{"size": True}]}, "the field 'leaves[0].size' is True, and must be a whole number"),
        ({"leaves": [{"size": 2, "share": 1.5}]}, "'leaves[0].share' is 1.5, and must be a number from 0 to 1"),
        (
            {"leaves": [{"size": 2, "share": float("nan")}]},
            "'leaves[0].share' is nan, and must be a number from 0 to 1",
        ),
        ({"place": [1]}, "the field 'place' is [1], and must be a list of 2"),
        ({"place": [1, 1 << 60]}, "the field 'place[1]' is 1152921504606846976, and must be a number"),
        ({"notes": {"b": "c"}}, "the field 'notes.b' is 'c', and must be a number"),
        ({"notes": []}, "the field 'notes' is [], and must be an object"),
        ({"fruit": 1}, "the field 'fruit' is none of its fields"),
        ({"name": "x" * 99}, ""),
        ({"ripe": "x" * 99}, "the field 'ripe' is 'xxxxxxxxxxxx...xxxxxxxxxxxxx', and must be true or false"),
    ],
)
def test_a_wrong_field_is_named_with_what_stands_in_it(change: dict[str, Any], said: str) -> None:
    text = json.dumps(TREE | change)
    if not said:
        assert typed_json.loads(Tree, text).name == change["name"]
        return
    with pytest.raises(InputError) as caught:
        typed_json.loads(Tree, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 100_000, '{"a": 1' + "0" * 9999 + "}"], ids=lambda t: t[:5])
def test_what_is_no_json_says_so(text: str) -> None:
    with pytest.raises(InputError, match="it is no JSON"):
        typed_json.loads(Tree, text)


@given(documents, st.sampled_from([field.name for field in dataclasses.fields(Tree)]))
@quick
def test_whatever_is_read_is_written_alike(value: object, name: str) -> None:
    try:
        tree = typed_json.loads(Tree, json.dumps(TREE | {name: value}))
    except InputError as error:
        assert name in str(error)  # noqa: PT017 - not all of them raise
        return
    text = json.dumps(dataclasses.asdict(tree))
    assert json.dumps(dataclasses.asdict(typed_json.loads(Tree, text))) == text
