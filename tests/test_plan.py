"""Budgets are one positive limit, and plans survive their file; nothing else is taken for one."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edits import changed, edited
from ravn import Budget, InputError, Plan
from ravn.codecs import ClusterCodec, CodebookCodec, EntropyCodec, UniformCodec

FIELDS = ("bits_per_weight", "size_bytes", "ratio")
quick = settings(deadline=None, derandomize=True)

bits = st.integers(1, 8)
codecs = st.one_of(
    st.builds(EntropyCodec, st.floats(1e-6, 1e6)),
    st.builds(ClusterCodec, st.lists(st.integers(0, 8), min_size=1, max_size=9).map(tuple)),
    st.builds(ClusterCodec, st.permutations(range(9)).map(tuple), st.just(True)),
    st.builds(CodebookCodec, bits, st.booleans()),
    st.builds(UniformCodec, bits, st.booleans()),
)
plans = st.builds(Plan, st.dictionaries(st.text(), codecs, max_size=5), st.text())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize("given_fields", [(), FIELDS[:2], FIELDS[1:], FIELDS], ids=str)
def test_a_budget_is_exactly_one_limit(given_fields: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="exactly one of bits_per_weight, size_bytes and ratio"):
        Budget(**dict.fromkeys(given_fields, 2))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf])
def test_a_limit_is_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field} = {value} is impossible"):
        Budget(**{field: value})


@given(st.integers(1, 32 * 64), st.integers(1, 10**9))
@quick
def test_limits_are_rounded_down_to_whole_bytes(sixtyfourths: int, parameters: int) -> None:
    wanted = Fraction(sixtyfourths, 64)
    assert Budget(bits_per_weight=float(wanted)).limit_bytes(parameters) == math.floor(wanted * parameters / 8)
    assert Budget(size_bytes=sixtyfourths).limit_bytes(parameters) == sixtyfourths
    limit = Budget(ratio=float(wanted)).limit_bytes(parameters)
    assert limit <= (1 + 1e-12) * 4 * parameters / wanted < limit + 1 + 1e-3


def test_sixteen_to_one_is_two_bits() -> None:
    assert Budget(ratio=16).limit_bytes(1001) == Budget(bits_per_weight=2).limit_bytes(1001) == 250


@given(plans)
@quick
def test_plans_survive_their_file(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert list(again.codecs) == list(plan.codecs)
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "null",
        "[1]",
        "{}",
        '{"layers": {}}',
        '{"allocator": "ppo"}',
        '{"allocator": "", "layers": []}',
        '{"allocator": "", "layers": {"a": 5}}',
        '{"allocator": "", "layers": {"a": {"codec": "zip"}}}',
        '{"allocator": "", "layers": {"a": {"codec": "uniform"}}}',
        '{"allocator": "", "layers": {"a": {"codec": "uniform", "bits": 9}}}',
        '{"allocator": "", "layers": {"a": {"codec": "uniform", "bits": "2"}}}',
        '{"allocator": "", "layers": {"a": {"codec": "cluster", "bits": 3}}}',
        '{"allocator": "", "layers": {"a": {"codec": "entropy", "step": 1e400}}}',
        '{"allocator": "", "layers": {"a": {"codec": "entropy", "step": 1%s}}}' % ("0" * 400),
        '{"allocator": "", "layers": {"a": {"codec": "entropy", "step": 1, "speed": 2}}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:70],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is not a plan that ravn wrote"):
        Plan.from_json(text)


@given(documents, st.sampled_from(["cluster", "codebook", "entropy", "uniform"]))
@quick
def test_whatever_stands_in_a_plan_is_read_or_refused(value: object, codec: str) -> None:
    fields = {"codec": codec, "bits": value, "step": value}
    layers = [value, {"a": value}, *({"a": {"codec": codec, key: fields[key]}} for key in ("bits", "step"))]
    for text in (json.dumps({"allocator": "", "layers": layer}) for layer in layers):
        try:
            plan = Plan.from_json(text)
        except InputError:
            continue
        assert Plan.from_json(plan.to_json()) == plan


PLAN = Plan({"conv.weight": UniformCodec(4), "fc.weight": EntropyCodec(0.25, spectral=True)}, "ppo").to_json()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("allocator",), None, "the field 'allocator' is None, and must be text"),
        (("allocator",), (), "the field 'allocator' is missing"),
        (("layers",), [], r"the field 'layers' is \[\], and must be an object"),
        (("layers", "fc.weight"), "zip", "the field 'layers.fc.weight' is 'zip', and must be an object"),
        (("layers", "fc.weight", "codec"), "zip", "the field 'layers.fc.weight' is no codec: there is no codec 'zip'"),
        (("layers", "fc.weight", "step"), -1, "the field 'layers.fc.weight' is no codec: a step of -1"),
        (("layers", "conv.weight", "bits"), 99, "the field 'layers.conv.weight' is no codec: "),
        (("layers", "conv.weight", "speed"), 1, "the field 'layers.conv.weight' is no codec: .* doesn't fit the codec"),
        (("version",), 1, "the field 'version' is none of its fields"),
    ],
)
def test_a_wrong_field_of_a_plan_is_named(place, value, said: str) -> None:
    document = json.loads(PLAN)
    broken = changed(document, place, *(() if value == () else (value,)))
    with pytest.raises(InputError, match=f"^plan.json is not a plan that ravn wrote: {said}"):
        Plan.from_json(json.dumps(broken), "plan.json")


@given(edited(PLAN))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_an_edited_plan_is_read_or_named(text: str) -> None:
    try:
        plan = Plan.from_json(text, "plan.json")
    except InputError as error:
        assert str(error).startswith("plan.json is not a plan that ravn wrote: ")  # noqa: PT017 - it may be one
        return
    assert Plan.from_json(plan.to_json()) == plan
