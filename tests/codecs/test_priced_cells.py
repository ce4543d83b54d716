"""Clusters whose cells know what bits cost, against brute force and against Shannon."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.codecs import ClusterCodec, codec_from_config, decoded
from ravn.codecs.kmeans import boundaries, kmeans
from ravn.codecs.priced_cells import fitted_bits, priced_cuts
from ravn.encoding import encode_layer
from ravn.errors import InputError

POINTS = st.lists(st.floats(-8, 8, width=16) | st.sampled_from([0.0, 1.0, -2.5]), min_size=1, max_size=9)
PRICES = st.floats(0.001, 4)
SHANNON = {"gaussian": 0.0, "laplace": 0.5 * math.log2(math.e / math.pi)}


@pytest.fixture(scope="module", params=SHANNON)
def source(request: pytest.FixtureRequest) -> tuple[Tensor, float]:
    torch.manual_seed(0)
    laplace = torch.distributions.Laplace(0.0, 1.0)
    sample = torch.randn(64, 1024) if request.param == "gaussian" else laplace.sample((64, 1024))
    return sample, SHANNON[request.param]


def cost(points: list[float], cuts: tuple[int, ...], bits: tuple[int, ...], price: float) -> float:
    """What the cells between the cuts cost, written down once more."""
    total = 0.0
    for (start, stop), b in zip(itertools.pairwise(cuts), bits, strict=True):
        cell = points[start:stop]
        mean = math.fsum(cell) / len(cell)
        inner = len(cell) * (cell[-1] - cell[0]) ** 2 / (12 * 4**b)
        error = inner if b else math.fsum((p - mean) ** 2 for p in cell)
        total += error + price * len(cell) * (b + math.log2(len(points) / len(cell)))
    return total


def partitions(points: list[float], clusters: int) -> list[tuple[int, ...]]:
    """All ways to cut ascending points into so many cells; equal points stay together."""
    places = [i for i in range(1, len(points)) if points[i] > points[i - 1]]
    return [(0, *inner, len(points)) for inner in itertools.combinations(places, clusters - 1)]


@given(POINTS, st.lists(st.integers(0, 3), min_size=1, max_size=4), PRICES)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_cells_of_given_bits_are_the_cheapest(values: list[float], bits: list[int], price: float) -> None:
    points = sorted(values)
    bits = bits[: len(set(points))]
    cuts = tuple(priced_cuts(np.array(points), bits, price).tolist())
    assert cuts in partitions(points, len(bits))
    least = min(cost(points, c, tuple(bits), price) for c in partitions(points, len(bits)))
    assert cost(points, cuts, tuple(bits), price) == pytest.approx(least, abs=1e-9)


@given(POINTS, st.integers(1, 3), PRICES)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_bits_and_cells_together_are_the_cheapest(values: list[float], clusters: int, price: float) -> None:
    points, choices = sorted(values), range(3)
    bits = fitted_bits(np.array(points), choices, clusters, price)
    assert len(bits) <= clusters
    cuts = tuple(priced_cuts(np.array(points), bits, price).tolist())
    least = min(
        cost(points, c, b, price)
        for many in range(1, clusters + 1)
        for b in itertools.product(choices, repeat=many)
        for c in partitions(points, many)
    )
    assert cost(points, cuts, bits, price) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("rate", [2.0, 3.0, 4.0])
def test_eight_clusters_come_within_a_third_of_a_bit_of_shannon(source: tuple[Tensor, float], rate: float) -> None:
    weight, shift = source
    codec = ClusterCodec.fitted(weight, 8, 0.1 * (4 * 2**-rate) ** 2 / float(weight.var()))
    encoded = encode_layer(weight, codec, None)
    error = float((decoded(encoded) - weight).square().mean())
    bits = 8 * encoded.size_bytes / weight.numel()
    assert bits == pytest.approx(rate, abs=0.6)
    assert bits + 0.5 * math.log2(error / float(weight.square().mean())) - shift < 0.30


def test_the_rate_falls_and_the_error_rises_with_the_price(source: tuple[Tensor, float]) -> None:
    weight, _ = source
    sizes, errors, clusters = [], [], []
    for price in (0.0003, 0.003, 0.03, 0.3, 1.0, 3.0):
        codec = ClusterCodec.fitted(weight, 8, price)
        encoded = codec.encode(weight)
        sizes.append(encoded.size_bytes)
        errors.append(float((decoded(encoded) - weight).square().mean()))
        clusters.append(len(codec.bits))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert clusters == sorted(clusters, reverse=True)
    assert clusters[0] == 8
    assert clusters[-1] <= 3


def test_given_bits_get_cheaper_cells_with_a_price(source: tuple[Tensor, float]) -> None:
    weight, _ = source
    sizes = [ClusterCodec((0,) * 8, price=p).encode(weight).size_bytes for p in (0.0, 0.1, 0.3)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.8 * sizes[0]


def test_no_price_means_the_cells_of_k_means(source: tuple[Tensor, float]) -> None:
    weight, _ = source
    plain = ClusterCodec((3, 1, 2))
    assert plain.price == 0
    owner = torch.bucketize(weight.flatten(), boundaries(kmeans(weight.flatten(), 3)))
    members = [weight.flatten()[owner == m] for m in range(3)]
    expected = [(float(p.min()), float(p.double().mean()), float(p.max())) for p in members]
    assert plain.cells(weight) == [pytest.approx(cell) for cell in expected]


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40), PRICES)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_no_cell_is_empty_whatever_the_weights(values: list[float], price: float) -> None:
    weight = torch.tensor(values)
    codec = ClusterCodec.fitted(weight, 5, price)
    cells = codec.cells(weight)
    assert 1 <= len(cells) == len(codec.bits) <= min(5, len(weight.unique()))
    assert all(low <= high for low, _, high in cells)
    assert all(before[2] < after[0] for before, after in itertools.pairwise(cells))
    assert torch.isfinite(decoded(codec.encode(weight))).all()


def test_equal_weights_are_one_cluster_and_stay_together() -> None:
    assert ClusterCodec.fitted(torch.full((3, 4), 0.5), 8, 0.1).bits == (0,)
    pruned = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    pruned[pruned.abs() < 1] = 0
    cells = ClusterCodec.fitted(pruned, 8, 0.05).cells(pruned)
    assert sum(low <= 0 <= high for low, _, high in cells) == 1


def test_the_price_goes_through_the_configuration() -> None:
    codec = ClusterCodec((2, 0, 1), price=0.25)
    assert codec_from_config(codec.config()) == codec
    assert codec_from_config({"codec": "cluster", "bits": [2, 0], "strict": False}) == ClusterCodec((2, 0))
    for price in (-1.0, math.nan, math.inf, "much"):
        with pytest.raises(InputError, match="price"):
            ClusterCodec((1,), price=price)
