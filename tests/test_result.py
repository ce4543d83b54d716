"""Results survive their file to the last digit; nothing else is taken for one."""

import dataclasses
import json
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn import InputError, Result
from ravn.result import Finite, Histogram, LayerReport, Share
from ravn.typed_json import Amount, Count

quick = settings(deadline=None, derandomize=True, max_examples=60)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if kind in ALIKE:
        return st.integers(1, 3).flatmap(ALIKE[kind])
    if get_origin(kind) is Annotated:
        bounds, strategy = get_args(kind)[1], {int: st.integers, float: st.floats}[get_args(kind)[0]]
        return strategy(bounds.least, bounds.most)
    if dataclasses.is_dataclass(kind):
        return st.builds(kind, **{f.name: values(f.type) for f in dataclasses.fields(kind)})
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    arguments = get_args(kind)
    if get_origin(kind) is tuple and arguments[-1] is ...:
        return st.lists(values(arguments[0]), min_size=1, max_size=3).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(values, arguments))
    if get_origin(kind) is dict:
        return st.dictionaries(*map(values, arguments), max_size=3)
    if isinstance(kind, UnionType):
        return st.one_of(*map(values, arguments))
    return st.from_type(kind)


def sequences(kind: Any, count: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[values(kind)] * count)


def layers(clusters: int) -> st.SearchStrategy[LayerReport]:
    kinds = {field.name: values(field.type) for field in dataclasses.fields(LayerReport)}
    shares = {"cluster_bits": sequences(Amount, clusters), "cluster_shares": sequences(Share, clusters)}
    return st.builds(LayerReport, **kinds | shares)


def histograms(bins: int) -> st.SearchStrategy[Histogram]:
    edges = st.lists(values(Finite), min_size=bins + 1, max_size=bins + 1, unique=True).map(sorted).map(tuple)
    return st.builds(Histogram, st.text(), edges, sequences(Count, bins), sequences(Count, bins))


ALIKE: dict[Any, Any] = {LayerReport: layers, Histogram: histograms}
"""What has as many of one thing as of another."""

results = values(Result)


@given(results)
@quick
def test_results_survive_their_file(result: Result) -> None:
    again = Result.from_json(result.to_json())
    assert again == result
    assert again.to_json() == result.to_json()


@given(results, st.data())
@quick
def test_a_result_with_a_field_less_or_more_is_refused(result: Result, data: st.DataObject) -> None:
    document = json.loads(result.to_json())
    without = dict(document)
    del without[data.draw(st.sampled_from([f.name for f in dataclasses.fields(Result)[:17]]))]
    for broken in (without, document | {"speed": 1}, document | {"rows": [{}]}, document | {"layers": [{}]}):
        with pytest.raises(InputError, match="this is not a result that ravn wrote"):
            Result.from_json(json.dumps(broken))


@given(results, st.sampled_from(["rows", "layers", "search_curve", "training_curve", "histogram"]), documents)
@quick
def test_whatever_stands_in_a_result_is_read_or_refused(result: Result, field: str, value: object) -> None:
    document = json.loads(result.to_json())
    for broken in (value, [value], [[value, value]]):
        try:
            again = Result.from_json(json.dumps(document | {field: broken}))
        except InputError:
            continue
        assert Result.from_json(again.to_json()).to_json() == again.to_json()


@pytest.mark.parametrize("text", ["", "no JSON", "null", "5", "[]", "{}", "[" * 100_000], ids=lambda text: text[:9])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is not a result that ravn wrote"):
        Result.from_json(text)
