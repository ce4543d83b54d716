"""Eq. 5 to 7 against explicit sums, and features read where the paper reads them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ravn.distances import DISTANCES, cka, l2, ssim
from ravn.errors import InputError
from ravn.fidelity import (
    feature_points,
    features,
    fidelity_loss,
    finite_outputs,
    first_not_finite,
    performance_gap,
    ravn_loss,
)

seeds = st.integers(0, 10**6)
quick = settings(deadline=None, derandomize=True, max_examples=40)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds, st.floats(1e-3, 1e3))
@quick
def test_l2_is_scale_invariant_and_an_explicit_sum(seed: int, scale: float) -> None:
    reference, other = random(seed, 3, 2, 2), random(seed + 1, 3, 2, 2)
    pairs = list(zip(reference.flatten().tolist(), other.flatten().tolist(), strict=True))
    expected = sum((f - q) ** 2 for f, q in pairs) / sum(f**2 for f, _ in pairs)
    assert float(l2(reference, other)) == pytest.approx(expected)
    assert float(l2(scale * reference, scale * other)) == pytest.approx(expected)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_vanish_for_equal_features_alone(name: str) -> None:
    reference, other = random(0, 4, 3), random(1, 4, 3)
    assert float(DISTANCES[name](reference, reference)) == pytest.approx(0, abs=1e-12)
    assert float(DISTANCES[name](reference, other)) > 0.1
    assert math.isfinite(float(DISTANCES[name](torch.zeros(4, 3), other)))


@given(seeds, st.floats(1e-3, 1e3))
@quick
def test_alignment_is_blind_to_rotation_and_scale_and_an_explicit_quotient(seed: int, scale: float) -> None:
    reference, other = random(seed, 6, 2, 2), random(seed + 1, 6, 5)
    turned = torch.linalg.qr(random(seed + 2, 5, 5)).Q
    assert float(cka(reference, scale * (other @ turned) + 3)) == pytest.approx(float(cka(reference, other)))
    x, y = (f.flatten(1) - f.flatten(1).mean(0) for f in (reference, other))
    expected = (y.mT @ x).square().sum() / ((x.mT @ x).norm() * (y.mT @ y).norm())
    assert float(cka(reference, other)) == pytest.approx(1 - float(expected))


@given(seeds)
@quick
def test_structural_similarity_of_each_map_is_that_of_its_moments(seed: int) -> None:
    reference, other = random(seed, 2, 3, 4, 4), random(seed + 1, 2, 3, 4, 4)
    reach = float(reference.max() - reference.min())
    c1, c2 = (0.01 * reach) ** 2, (0.03 * reach) ** 2
    found = []
    for x, y in zip(reference.reshape(6, 16), other.reshape(6, 16), strict=True):
        covariance = torch.cov(torch.stack((x, y)), correction=0)
        luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
        found.append(luminance * (2 * covariance[0, 1] + c2) / (covariance.trace() + c2))
    assert float(ssim(reference, other)) == pytest.approx(1 - float(torch.stack(found).mean()))


def test_fidelity_is_the_mean_over_layers_however_loud_they_are() -> None:
    reference = {"quiet": 1e-3 * random(0, 4, 8), "loud": 1e3 * random(1, 4, 2, 3, 3), "exact": random(2, 4, 5)}
    other = {"quiet": 1.1 * reference["quiet"], "loud": 0.8 * reference["loud"], "exact": reference["exact"]}
    assert float(fidelity_loss(reference, other)) == pytest.approx((0.01 + 0.04 + 0) / 3)
    assert float(fidelity_loss(reference, other, DISTANCES["l1"])) == pytest.approx((0.1 + 0.2 + 0) / 3)
    assert float(fidelity_loss({}, {})) == 0


@given(seeds, st.integers(1, 5), st.integers(2, 6))
@quick
def test_the_gap_is_the_divergence_from_the_reference(seed: int, images: int, classes: int) -> None:
    reference, logits = 3 * random(seed, images, classes), 3 * random(seed + 1, images, classes)
    expected = 0.0
    for goal, ours in zip(reference.tolist(), logits.tolist(), strict=True):
        p, q = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (goal, ours))
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / images
    assert float(performance_gap(reference, logits)) == pytest.approx(expected)
    assert expected >= 0
    assert float(performance_gap(reference, reference + 7)) == pytest.approx(0, abs=1e-12)


@given(seeds, st.floats(0.5, 8))
@quick
def test_a_temperature_divides_the_logits_and_its_square_multiplies_the_gap(seed: int, temperature: float) -> None:
    reference, logits = 3 * random(seed, 4, 5), 3 * random(seed + 1, 4, 5)
    cooled = float(performance_gap(reference / temperature, logits / temperature))
    assert float(performance_gap(reference, logits, temperature)) == pytest.approx(temperature**2 * cooled)


@given(seeds)
@quick
def test_an_infinite_temperature_is_the_limit_of_warm_ones(seed: int) -> None:
    reference, logits = random(seed, 4, 5), random(seed + 1, 4, 5)
    hot = float(performance_gap(reference, logits, math.inf))
    assert hot == pytest.approx(float(performance_gap(reference, logits, 1e4)), rel=1e-3)
    assert float(performance_gap(reference, logits + 7, math.inf)) == pytest.approx(hot)


def test_the_loss_of_the_paper_is_fidelity_plus_lambda_gaps() -> None:
    assert float(ravn_loss(torch.tensor(0.25), torch.tensor(0.5))) == 0.75
    assert float(ravn_loss(torch.tensor(0.25), torch.tensor(0.5), trade_off=2.0)) == 1.25


class Residual(nn.Module):
    """Layers with and without a batch norm behind them, activations in place, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 1)
        self.idle = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.bn1(self.conv1(x)))
        x = functional.relu_(self.conv2(x) + x)
        return self.head(x.mean((2, 3)))


WEIGHTS = ("conv1.weight", "conv2.weight", "idle.weight", "head.weight")
BATCH = random(3, 5, 1, 6, 6).float()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_features_are_read_after_the_batch_norm_that_takes_the_layers_output() -> None:
    model = Residual().eval()
    assert set(feature_points(model, WEIGHTS, BATCH)) == {"bn1", "conv2", "head"}
    assert feature_points(model, ["conv2.weight"], BATCH) == ("conv2",)
    assert hooks(model) == 0


def test_a_layer_and_its_bias_give_one_point() -> None:
    assert feature_points(Residual().eval(), ["conv1.weight", "conv1.bias"], BATCH) == ("bn1",)


def test_features_are_the_outputs_whatever_happens_in_place_afterwards() -> None:
    model = Residual().eval()
    with torch.no_grad(), features(model, ("bn1", "head")) as seen:
        logits = model(BATCH)
    assert torch.equal(seen["head"], logits)
    torch.testing.assert_close(seen["bn1"], model.bn1(model.conv1(BATCH)))
    assert (seen["bn1"] < 0).any()


def test_features_of_the_first_images_follow_every_forward_pass() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with features(model, ("0",), images=2) as seen:
        assert seen == {}
        for inputs in (torch.ones(5, 3), torch.zeros(5, 3)):
            assert torch.equal(model(inputs)[:2], seen["0"])
    assert seen["0"].requires_grad


def test_no_hook_survives_an_exception() -> None:
    model = Residual().eval()
    wrong = torch.zeros(2, 7, 6, 6)
    with pytest.raises(RuntimeError, match="channels"):
        feature_points(model, WEIGHTS, wrong)
    with pytest.raises(RuntimeError, match="channels"), features(model, ("bn1", "head")):
        model(wrong)
    with pytest.raises(AttributeError, match="nowhere"), features(model, ("bn1", "nowhere")):
        pass
    assert hooks(model) == 0


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), Root()), nn.Linear(2, 2, dtype=torch.float64))
    inputs = random(0, 3, 2)
    assert first_not_finite(model, inputs) is None
    assert finite_outputs(model, inputs).dtype == torch.float32
    model[1][0] = nn.Tanh()
    assert first_not_finite(model, inputs) == "1.1"
    with pytest.raises(InputError, match=r"outputs hold NaN or infinity, first in layer '1\.1'; only"):
        finite_outputs(model, inputs)
    with pytest.raises(InputError, match="outputs hold NaN or infinity; only"):
        finite_outputs(Root(), inputs)  # a network without parts


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_not_finite_are_told_from_outputs(value: float) -> None:
    inputs = random(0, 3, 2)
    inputs[1, 1] = value
    with pytest.raises(InputError, match="inputs hold NaN or infinity; give finite images"):
        finite_outputs(nn.Linear(2, 2, dtype=torch.float64), inputs)
