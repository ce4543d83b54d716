"""k-means in one dimension against an exact oracle."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.kmeans import boundaries, kmeans
from ravn.errors import InputError

POINTS = st.lists(st.floats(-100, 100, width=16) | st.sampled_from([0.0, 1.0, -2.5]), min_size=1, max_size=14)


def inertia(points: Tensor, centroids: Tensor) -> float:
    return float((points.double()[:, None] - centroids.double()).square().amin(1).sum())


def least_inertia(points: list[float], clusters: int) -> float:
    """Optimum over all partitions of the sorted points into at most k intervals, O(n^2 k)."""
    ordered = sorted(points)

    def spread(start: int, stop: int) -> float:
        part = ordered[start:stop]
        mean = math.fsum(part) / len(part)
        return math.fsum((p - mean) ** 2 for p in part)

    least = [0.0] + [math.inf] * len(ordered)
    for _ in range(clusters):
        least = [0.0] + [min(least[i] + spread(i, j) for i in range(j)) for j in range(1, len(least))]
    return least[-1]


@given(POINTS, st.integers(1, 6))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_small_inputs_are_solved_exactly(values: list[float], clusters: int) -> None:
    points = torch.tensor(values, dtype=torch.float64)
    centroids = kmeans(points, clusters)
    assert len(centroids) == min(clusters, len(set(values)))
    assert (centroids.diff() > 0).all()
    assert inertia(points, centroids) <= least_inertia(values, clusters) + 1e-8


@given(POINTS, st.integers(1, 6), st.randoms(use_true_random=False))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_order_is_irrelevant_and_no_cluster_is_empty(
    values: list[float], clusters: int, random_: random.Random
) -> None:
    points = torch.tensor(values)
    centroids = kmeans(points, clusters)
    random_.shuffle(values)
    assert torch.equal(kmeans(torch.tensor(values).reshape(1, -1), clusters), centroids)
    owner = torch.bucketize(points, boundaries(centroids))
    assert torch.equal(owner.unique(), torch.arange(len(centroids)))


def lloyd(ordered: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(100):
        cuts = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.unique(np.concatenate([[0], cuts, [len(ordered)]]))
        centroids = np.diff(sums[edges]) / np.diff(edges)
    return centroids


@pytest.mark.parametrize("freedom", [1.5, 3.0, 50.0])
@pytest.mark.parametrize("clusters", [4, 16])
def test_heavy_tails_are_clustered_better_than_by_random_starts(freedom: float, clusters: int) -> None:
    generator = np.random.default_rng(0)
    ordered = np.sort(generator.standard_t(freedom, 100_000))
    starts = (np.sort(generator.choice(ordered, clusters, replace=False)) for _ in range(20))
    points = torch.from_numpy(ordered)
    best = min(inertia(points, torch.from_numpy(lloyd(ordered, start))) for start in starts)
    assert inertia(points, kmeans(points, clusters)) <= best * (1 + 1e-6)


def test_coarse_bins_come_close_to_the_optimum() -> None:
    points = torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = inertia(points, kmeans(points, 7, bins=5000))
    assert exact <= inertia(points, kmeans(points, 7, bins=100)) <= exact * (1 + 1e-3)


@pytest.mark.parametrize("count", [4999, 5000, 5001])
def test_bins_are_placed_well_by_a_few_quantiles(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = inertia(points, kmeans(points, 7, bins=count))
    monkeypatch.setattr("ravn.codecs.kmeans._QUANTILES", 500)
    assert exact <= inertia(points, kmeans(points, 7, bins=100)) <= exact * (1 + 1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_dtype_of_the_points_is_kept(dtype: torch.dtype) -> None:
    assert kmeans(torch.tensor([0.0, 0.0, 1.0, 8.0], dtype=dtype), 3).tolist() == [0, 1, 8]
    assert kmeans(torch.tensor([0.5], dtype=dtype), 3).dtype == dtype


@pytest.mark.parametrize("points", [[math.nan, 1.0], [math.inf], []])
def test_points_that_are_not_finite_are_refused(points: list[float]) -> None:
    with pytest.raises(InputError, match="finite"):
        kmeans(torch.tensor(points), 2)


def test_no_clusters_are_refused() -> None:
    with pytest.raises(InputError, match="into 0 clusters"):
        kmeans(torch.ones(3), 0)
