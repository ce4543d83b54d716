"""Canonical batch norms compute the same function in eval mode, from two vectors."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.batchnorm import canonical, shortened


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Fill weights and statistics with values as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.affine:
                module.weight.data = torch.randn(module.num_features, generator=generator)
                module.bias.data = torch.randn(module.num_features, generator=generator)
            if module.running_mean is not None:
                module.running_mean = torch.randn(module.num_features, generator=generator)
                module.running_var = torch.rand(module.num_features, generator=generator) * 4
    return model.eval()


def outputs(model: nn.Module, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
    model = copy.deepcopy(model)
    model.load_state_dict(state)
    with torch.no_grad():
        result: Tensor = model(inputs)
    return result


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """Random chains of convolutions and batch norms of every kind, with an input."""
    dimensions = draw(st.integers(1, 3))
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    torch.manual_seed(draw(st.integers(0, 1000)))
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(draw(st.integers(1, 3))):
        width = draw(st.integers(1, 6))
        layers += [
            conv(channels, width, 3, padding=1),
            norm(
                width,
                eps=draw(st.sampled_from([1e-5, 1e-3, 1e-12, 0.5])),
                momentum=draw(st.sampled_from([None, 0.1])),
                affine=draw(st.booleans()),
                track_running_stats=draw(st.booleans()),
            ),
            nn.ReLU(),
        ]
        channels = width
    return randomised(nn.Sequential(*layers), 1), torch.randn(2, 3, *[4] * dimensions)


@given(networks())
@settings(deadline=None, derandomize=True, max_examples=60)
def test_outputs_stay_the_same(case: tuple[nn.Module, Tensor]) -> None:
    model, inputs = case
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = outputs(model, before, inputs)
    state = canonical(model)
    assert list(state) == list(before)
    assert all(value.dtype == before[name].dtype for name, value in state.items())
    difference = (outputs(model, state, inputs) - expected).norm()
    assert difference <= 1e-5 * expected.norm() + 1e-30
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_statistics_become_constants() -> None:
    norm = randomised(nn.BatchNorm2d(5, eps=1e-3), 0)
    state = canonical(norm)
    assert torch.equal(state["running_mean"], torch.zeros(5))
    assert torch.equal(state["running_var"], torch.full((5,), 1 - 1e-3))
    again = copy.deepcopy(norm)
    again.load_state_dict(state)
    twice = canonical(again)
    torch.testing.assert_close(twice, state, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}])
def test_norms_without_weights_or_statistics_stay(options: dict[str, bool]) -> None:
    norm = randomised(nn.BatchNorm1d(4, **options), 0)  # type: ignore[arg-type]
    state = canonical(norm)
    assert state.keys() == norm.state_dict().keys()
    assert all(torch.equal(value, norm.state_dict()[name]) for name, value in state.items())


def test_norms_that_share_weights_stay() -> None:
    first, second = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    second.weight = first.weight
    model = randomised(nn.Sequential(first, second), 0)
    second.weight = first.weight
    state = canonical(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_a_module_that_is_used_twice_is_replaced_under_both_names() -> None:
    norm = nn.BatchNorm1d(4)
    model = randomised(nn.Sequential(norm, nn.ReLU(), norm), 0)
    state = canonical(model)
    assert torch.equal(state["0.weight"], state["2.weight"])
    assert torch.equal(state["2.running_mean"], torch.zeros(4))
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(
        outputs(model, state, inputs),
        outputs(model, model.state_dict(), inputs),
        rtol=1e-5,
        atol=1e-6,
    )


def test_low_precision_keeps_its_dtype() -> None:
    norm = randomised(nn.BatchNorm1d(4), 0).to(torch.bfloat16)
    assert canonical(norm)["weight"].dtype == torch.bfloat16


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(1, 23))
def test_shortened_floats_are_near_and_have_the_bits_that_were_asked_for(values: list[float], bits: int) -> None:
    tensor = torch.tensor(values)
    short = shortened(tensor, bits)
    assert ((short - tensor).abs().double() <= tensor.abs().double() * 2.0 ** -(bits + 1) * (1 + 1e-9)).all()
    mantissa, _ = torch.frexp(short.double())
    assert torch.equal(mantissa * 2 ** (bits + 1), (mantissa * 2 ** (bits + 1)).round())
    assert torch.equal(shortened(short, bits), short)
    assert short.dtype == tensor.dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [1, 4, 9, 23])
def test_the_largest_floats_are_not_rounded_up_to_infinity(bits: int, dtype: torch.dtype) -> None:
    largest = torch.tensor([1.0, -1.0, 0.99]).to(dtype) * torch.finfo(dtype).max
    short = shortened(largest, bits)
    assert short.dtype == dtype
    assert torch.isfinite(short).all()
    assert ((short.double() / largest.double() - 1).abs() <= 2.0 ** -(bits + 1)).all()
