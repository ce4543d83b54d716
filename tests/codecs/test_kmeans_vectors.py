"""k-means of vectors, by torch and, where it is installed, by faiss."""

import math

import pytest
import torch
from torch import Tensor

from ravn.codecs import faiss_lloyd
from ravn.codecs.kmeans_vectors import kmeans_vectors, nearest_vectors
from ravn.errors import InputError, MissingPackageError

missing = pytest.mark.skipif(not faiss_lloyd.is_installed(), reason="faiss is not installed")
every_engine = pytest.mark.parametrize("faiss", [False, pytest.param(True, marks=missing)])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inertia(points: Tensor, centroids: Tensor) -> float:
    return float(torch.cdist(points, centroids).amin(1).square().sum())


def restarted(points: Tensor, clusters: int) -> float:
    """Least inertia of Lloyd's iteration from thirty random starts."""
    least = math.inf
    for seed in range(30):
        centroids = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:clusters]]
        for _ in range(40):
            owner = torch.nn.functional.one_hot(torch.cdist(points, centroids).argmin(1), clusters).double()
            centroids = owner.T @ points / owner.sum(0).clamp_min(1)[:, None]
        least = min(least, inertia(points, centroids))
    return least


@every_engine
@pytest.mark.parametrize(("dimension", "clusters"), [(2, 5), (4, 8), (8, 4)])
def test_inertia_is_that_of_the_best_of_many_starts(dimension: int, clusters: int, faiss: bool) -> None:
    points = normal(200, dimension)
    assert inertia(points, kmeans_vectors(points, clusters, faiss=faiss)) <= 1.02 * restarted(points, clusters)


@every_engine
def test_separate_blobs_are_found(faiss: bool) -> None:
    centres = 100 * normal(12, 3)
    offsets = normal(10, 3, seed=1)
    points = (centres[:, None] + torch.cat([offsets, -offsets])).reshape(-1, 3)
    found = kmeans_vectors(points, 12, faiss=faiss)
    assert torch.cdist(centres, found).amin(1).max() < 1e-3
    assert len(found) == 12


@every_engine
@pytest.mark.parametrize("distinct", [1, 3, 20])
def test_no_cluster_is_empty(distinct: int, faiss: bool) -> None:
    points = normal(distinct, 2).repeat(9, 1)
    found = kmeans_vectors(points, 8, faiss=faiss)
    assert len(found) == min(distinct, 8)
    assert torch.equal(nearest_vectors(points, found).unique(), torch.arange(len(found)))


@every_engine
def test_a_seed_decides_everything(faiss: bool) -> None:
    points = normal(300, 4)
    assert torch.equal(kmeans_vectors(points, 7, seed=3, faiss=faiss), kmeans_vectors(points, 7, seed=3, faiss=faiss))


def test_chunks_change_nothing() -> None:
    points = normal(500, 4)
    whole, parts = (kmeans_vectors(points, 6, faiss=False, chunk=chunk) for chunk in (1 << 22, 50))
    torch.testing.assert_close(whole, parts)
    assert torch.equal(nearest_vectors(points, whole), nearest_vectors(points, whole, chunk=1))


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20, 1e38])
def test_scale_changes_nothing(scale: float) -> None:
    points = normal(100, 2).float().clamp(-3, 3)
    expected = kmeans_vectors(points, 4, faiss=False)
    torch.testing.assert_close(kmeans_vectors(points * scale, 4, faiss=False) / scale, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("points", [[[math.nan, 1.0]], [[math.inf, 0.0]], []])
def test_points_that_are_not_finite_are_refused(points: list[list[float]]) -> None:
    with pytest.raises(InputError, match="finite"):
        kmeans_vectors(torch.tensor(points), 2)


def test_no_clusters_are_refused() -> None:
    with pytest.raises(InputError, match="into 0 clusters"):
        kmeans_vectors(torch.ones(3, 2), 0)


@pytest.mark.skipif(faiss_lloyd.is_installed(), reason="faiss is installed")
def test_a_missing_faiss_names_its_extra() -> None:
    with pytest.raises(MissingPackageError, match="faiss"):
        kmeans_vectors(torch.ones(3, 2), 2, faiss=True)
