"""k-means of vectors: k-means++ starts (Arthur and Vassilvitskii), Lloyd's iteration by faiss or torch."""

import torch
from torch import Tensor

from ravn.codecs import faiss_lloyd
from ravn.errors import InputError

CHUNK = 1 << 22
"""Distances that are in memory at once."""
_SAMPLE = 256
"""Points per cluster that centroids are fitted to; the others hardly move them."""
_SMALL = 1 << 20
"""Below so many distances, several starts cost nothing."""
_ATTEMPTS = 5
_ROUNDS = 256


def kmeans_vectors(
    points: Tensor, clusters: int, *, seed: int = 0, iterations: int = 25, chunk: int = CHUNK, faiss: bool | None = None
) -> Tensor:
    """Cluster vectors so that the squared error is small.

    Args:
        points: shape (n, d).
        clusters: M; a cluster that nothing is nearest to is left out, so that none is empty.
        seed: of the starts; equal seeds give equal centroids.
        iterations: of Lloyd's method.
        chunk: distances in memory at once; it changes nothing but speed and memory.
        faiss: whether faiss iterates; where it is installed, unless told otherwise.

    Returns:
        Centroids, shape (at most M, d), same dtype and device as `points`.

    Raises:
        InputError: no points, points that are not finite, or `clusters` below 1.
    """
    if clusters < 1:
        raise InputError(f"k-means into {clusters} clusters is impossible; give at least 1")
    if not points.numel() or not torch.isfinite(points).all():
        raise InputError("k-means needs at least one point, and only finite ones")
    generator = torch.Generator().manual_seed(seed)
    values, centre, scale = _standardized(points)
    sample = values[torch.randperm(len(values), generator=generator)[: _SAMPLE * clusters].to(values.device)]
    use_faiss = faiss_lloyd.is_installed() if faiss is None else faiss
    best, least = values[:1], float("inf")
    for _ in range(_ATTEMPTS if len(sample) * clusters <= _SMALL else 1):
        start = _spread_out(sample, clusters, generator)
        found = faiss_lloyd.lloyd(sample, start, iterations) if use_faiss else _lloyd(sample, start, iterations, chunk)
        error = float((sample - found[nearest_vectors(sample, found, chunk=chunk)]).square().sum())
        if error < least:
            best, least = found, error
    used = nearest_vectors(values, best, chunk=chunk).unique()
    return (best[used].double() * scale + centre).to(points.dtype)


def nearest_vectors(points: Tensor, centroids: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """Index of the nearest centroid of every point, int64 of shape (n,).

    Args:
        points: shape (n, d).
        centroids: shape (M, d).
        chunk: distances in memory at once.
    """
    # Around the mean and in units of the largest coordinate, no square overflows or vanishes.
    centre, scale = _frame(centroids)
    targets = ((centroids.double() - centre) / scale).float()
    halves = targets.square().sum(1) / 2
    owners = torch.empty(len(points), dtype=torch.int64, device=points.device)
    size = max(chunk // len(centroids), 1)
    for part, owner in zip(points.split(size), owners.split(size), strict=True):
        values = ((part.double() - centre) / scale).float()
        owner.copy_(torch.addmm(halves, values, targets.T, alpha=-1).argmin(1))
    return owners


def _frame(points: Tensor) -> tuple[Tensor, Tensor]:
    values = points.double()
    centre = values.mean(0)
    largest = (values - centre).abs().max()
    return centre, torch.where(largest > 0, largest, torch.ones_like(largest))


def _standardized(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    centre, scale = _frame(points)
    return ((points.double() - centre) / scale).float(), centre, scale


def _spread_out(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Starts that are drawn by their squared distance from those before them, a few at once where there are many."""
    chosen = points[torch.randint(len(points), (1,), generator=generator).to(points.device)]
    distances = (points - chosen).square().sum(1)
    while len(chosen) < clusters and bool((distances > 0).any()):
        many = min(-(-clusters // _ROUNDS), clusters - len(chosen), int((distances > 0).sum()))
        # The largest of u^(1/w) are a draw without replacement by weights w (Efraimidis and Spirakis).
        luck = torch.rand(len(points), generator=generator, dtype=torch.float64).to(points.device).log()
        picks = points[torch.topk(luck / distances, many).indices]
        chosen = torch.cat([chosen, picks])
        for pick in picks:
            distances = torch.minimum(distances, (points - pick).square().sum(1))
    return chosen


def _lloyd(points: Tensor, centroids: Tensor, iterations: int, chunk: int) -> Tensor:
    """Lloyd's iteration; a cluster that empties moves to the point that is farthest from its centroid."""
    previous = None
    for _ in range(iterations):
        owners = nearest_vectors(points, centroids, chunk=chunk)
        if previous is not None and torch.equal(owners, previous):
            break
        previous = owners
        counts = torch.bincount(owners, minlength=len(centroids))
        sums = torch.zeros_like(centroids, dtype=torch.float64).index_add_(0, owners, points.double())
        empty = counts == 0
        if empty.any():
            errors = (points - centroids[owners]).square().sum(1)
            sums[empty] = points[errors.topk(int(empty.sum())).indices].double()
        centroids = (sums / counts.clamp_min(1)[:, None]).float()
    return centroids
