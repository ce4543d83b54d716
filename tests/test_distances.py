"""Distances against slow sums over images and channels, and what each of them does not see."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.distances import BRIGHTNESS, CONTRAST, DISTANCES, cka, cosine, l1, ssim

seeds = st.integers(0, 10**6)
names = st.sampled_from(sorted(DISTANCES))
shapes = st.sampled_from([(5, 3), (4, 2, 3, 3), (3, 6, 1, 1), (6, 4, 5)])
quick = settings(deadline=None, derandomize=True, max_examples=40)


def pair(seed: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(shape, generator=generator, dtype=torch.float64)
    return reference, reference + 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)


@given(names, seeds, shapes, st.integers(-5, 5))
@quick
def test_no_distance_depends_on_the_unit_of_the_features(
    name: str, seed: int, shape: tuple[int, ...], power: int
) -> None:
    reference, other = pair(seed, shape)
    expected = float(DISTANCES[name](reference, other))
    scaled = float(DISTANCES[name](reference * 10.0**power, other * 10.0**power))
    assert scaled == pytest.approx(expected, rel=1e-2 if name == "ssim" else 1e-6)


@given(names, seeds, shapes)
@quick
def test_no_distance_depends_on_the_order_of_the_images(name: str, seed: int, shape: tuple[int, ...]) -> None:
    reference, other = pair(seed, shape)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    shuffled = float(DISTANCES[name](reference[order], other[order]))
    assert shuffled == pytest.approx(float(DISTANCES[name](reference, other)))


@given(names, seeds, shapes)
@quick
def test_no_distance_depends_on_the_order_of_the_channels(name: str, seed: int, shape: tuple[int, ...]) -> None:
    reference, other = pair(seed, shape)
    order = torch.randperm(shape[1], generator=torch.Generator().manual_seed(seed))
    shuffled = float(DISTANCES[name](reference[:, order], other[:, order]))
    assert shuffled == pytest.approx(float(DISTANCES[name](reference, other)))


@pytest.mark.parametrize("name", sorted(DISTANCES))
@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 2, 2), (1, 5)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_alike_are_as_near_to_themselves_as_others(
    name: str, shape: tuple[int, ...], value: float
) -> None:
    constant = torch.full(shape, value)
    assert float(DISTANCES[name](constant, constant)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(DISTANCES))
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_small_and_large_features_are_near_to_themselves_in_float32(name: str, scale: float) -> None:
    features = pair(0, (6, 4, 3, 3))[0].float() * scale
    assert float(DISTANCES[name](features, features)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["l1", "l2", "cosine", "cka"])
def test_a_layer_that_died_is_as_far_as_nothing_is(name: str) -> None:
    reference = pair(0, (6, 4))[0]
    assert float(DISTANCES[name](reference, torch.zeros_like(reference))) == pytest.approx(1)


@given(seeds, shapes)
@quick
def test_l1_is_an_explicit_sum(seed: int, shape: tuple[int, ...]) -> None:
    reference, other = pair(seed, shape)
    ours, theirs = reference.flatten().tolist(), other.flatten().tolist()
    expected = sum(abs(f - q) for f, q in zip(ours, theirs, strict=True)) / sum(map(abs, ours))
    assert float(l1(reference, other)) == pytest.approx(expected)


@given(seeds, shapes, st.lists(st.floats(0.01, 100), min_size=6, max_size=6))
@quick
def test_cosines_are_those_of_each_image_and_blind_to_its_brightness(
    seed: int, shape: tuple[int, ...], brightness: list[float]
) -> None:
    reference, other = pair(seed, shape)
    angles = []
    for image in range(shape[0]):
        ours, theirs = reference[image].flatten().tolist(), other[image].flatten().tolist()
        inner = sum(f * q for f, q in zip(ours, theirs, strict=True))
        angles.append(inner / math.hypot(*ours) / math.hypot(*theirs))
    expected = 1 - sum(angles) / len(angles)
    assert float(cosine(reference, other)) == pytest.approx(expected)
    factors = torch.tensor(brightness[: shape[0]]).reshape(-1, *[1] * (len(shape) - 1))
    assert float(cosine(reference, other * factors)) == pytest.approx(expected)
    assert float(cosine(reference, -reference)) == pytest.approx(2)


@given(seeds, st.sampled_from([(2, 3, 4, 2), (3, 5)]))
@quick
def test_structural_similarity_is_the_mean_of_the_published_formula(seed: int, shape: tuple[int, ...]) -> None:
    reference, other = pair(seed, shape)
    reach = float(reference.max() - reference.min())
    c1, c2 = (BRIGHTNESS * reach) ** 2, (CONTRAST * reach) ** 2
    maps = [f.reshape(-1, math.prod(shape[2:]) if len(shape) > 2 else shape[1]).tolist() for f in (reference, other)]
    found = []
    for x, y in zip(*maps, strict=True):
        count = len(x)
        mx, my = sum(x) / count, sum(y) / count
        vx, vy = sum((v - mx) ** 2 for v in x) / count, sum((v - my) ** 2 for v in y) / count
        both = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / count
        found.append((2 * mx * my + c1) * (2 * both + c2) / (mx**2 + my**2 + c1) / (vx + vy + c2))
    assert float(ssim(reference, other)) == pytest.approx(1 - sum(found) / len(found), abs=1e-9)
    assert 0 <= float(ssim(reference, other)) <= 2


@given(seeds)
@quick
def test_alignment_lies_between_none_and_all_and_has_no_direction(seed: int) -> None:
    reference, other = pair(seed, (5, 7))
    found = float(cka(reference, other))
    assert -1e-9 <= found <= 1 + 1e-9
    assert found == pytest.approx(float(cka(other, reference)))
    # Two images are two points: whatever the features, they lie on one line.
    assert float(cka(reference[:2], other[:2])) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_a_step_down_the_gradient_brings_features_nearer(name: str) -> None:
    reference, other = pair(0, (6, 3, 2, 2))
    moved = other.clone().requires_grad_()
    before = DISTANCES[name](reference, moved)
    (gradient,) = torch.autograd.grad(before, moved)
    assert DISTANCES[name](reference, other - 1e-3 * gradient) < before.detach()
