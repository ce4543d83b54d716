"""Plans that no search decides are the best of their family, by trying all of them."""

import itertools

import pytest
import torch
from torch import nn

from ravn.codecs import CodebookCodec, Codec, UniformCodec, decoded
from ravn.errors import BudgetError
from ravn.fixed_plans import FAMILIES, FIXED_PLANS, at_bytes, equal_codebooks, fitted, four_bits
from ravn.layers import weight_layers

BITS = (1, 2, 3, 8)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 16), nn.Linear(16, 12), nn.Linear(12, 4))
        for scale, layer in zip((0.2, 1.0, 3.0), model, strict=True):
            nn.init.normal_(layer.weight, std=scale)
        return model


def measured(network: nn.Module, name: str, codec: Codec, *, relative: bool) -> tuple[int, float]:
    """Stored bytes and squared error of a layer under a codec."""
    weight = network.get_parameter(name).detach()
    encoded = codec.encode(weight)
    error = (decoded(encoded) - weight).square().sum()
    return encoded.size_bytes, float(error / weight.square().sum() if relative else error)


def totals(network: nn.Module, plan: dict[str, Codec], *, relative: bool = False) -> tuple[int, float]:
    """Bytes and squared error of a whole plan."""
    measures = (measured(network, name, codec, relative=relative) for name, codec in plan.items())
    sizes, errors = zip(*measures, strict=True)
    return sum(sizes), sum(errors)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit-widths few enough to try all plans."""
    monkeypatch.setattr("ravn.fixed_plans.BITS", BITS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("relative", [False, True])
def test_no_plan_of_the_family_has_less_error_in_the_bytes(
    family: str, share: float, *, relative: bool, network, few
) -> None:
    layers = weight_layers(network)
    codecs = [codec for bits in BITS for codec in FAMILIES[family](bits)]
    tried = [[measured(network, layer.name, codec, relative=relative) for codec in codecs] for layer in layers]
    least, most = (sum(end(size for size, _ in row) for row in tried) for end in (min, max))
    capacity = round(least + share * (most - least))
    plans = itertools.product(*tried)
    best = min(sum(e for _, e in plan) for plan in plans if sum(s for s, _ in plan) <= capacity)
    plan = at_bytes(network, layers, family, capacity)[-1 if relative else 0]
    size, error = totals(network, plan, relative=relative)
    assert list(plan) == [layer.name for layer in layers]
    assert size <= capacity
    assert error == pytest.approx(best, rel=1e-5)
    with pytest.raises(BudgetError):
        at_bytes(network, layers, family, least - 1)


def test_codebooks_are_equal_and_the_widest_that_fit(network: nn.Module) -> None:
    layers = weight_layers(network)
    sizes = {
        codec: totals(network, {layer.name: codec for layer in layers})[0]
        for codec in (CodebookCodec(bits, entropy_coded=coded) for bits in range(1, 9) for coded in (False, True))
    }
    for capacity in sorted(sizes.values())[::5]:
        (plan,) = equal_codebooks(network, layers, capacity)
        (codec,) = set(plan.values())
        fitting = [c for c, size in sizes.items() if size <= capacity]
        assert sizes[codec] <= capacity
        assert codec.bits == max(c.bits for c in fitting)
        assert codec.entropy_coded <= min(c.entropy_coded for c in fitting if c.bits == codec.bits)


def test_a_capacity_below_one_bit_says_what_one_bit_takes(network: nn.Module) -> None:
    layers = weight_layers(network)
    with pytest.raises(BudgetError, match="codebooks of one bit take") as caught:
        equal_codebooks(network, layers, 10)
    least = caught.value.smallest_bytes
    assert least > 10
    (plan,) = equal_codebooks(network, layers, least)
    assert {codec.bits for codec in plan.values()} == {1}


def test_four_bits_are_four_bits_whatever_they_take(network: nn.Module) -> None:
    layers = weight_layers(network)
    assert four_bits(network, layers, 0) == [{layer.name: UniformCodec(4) for layer in layers}]


def test_every_plan_by_name_has_codecs_for_every_layer(network: nn.Module) -> None:
    layers = weight_layers(network)
    for fixed in FIXED_PLANS.values():
        plans = fixed.planner(network, layers, 10_000)
        assert plans
        assert all(list(plan) == [layer.name for layer in layers] for plan in plans)


def test_candidates_differ(network: nn.Module) -> None:
    layers = weight_layers(network)
    absolute, relative = fitted("uniform")(network, layers, 200)
    assert absolute != relative
    assert len(at_bytes(network, layers, "uniform", 10_000)) == 1
