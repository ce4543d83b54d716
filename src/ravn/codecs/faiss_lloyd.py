"""The one door to faiss: Lloyd's iteration on many vectors."""

import importlib.util
import warnings

import torch
from torch import Tensor

from ravn.errors import MissingPackageError


def is_installed() -> bool:
    """Whether faiss can be imported."""
    return importlib.util.find_spec("faiss") is not None


def lloyd(points: Tensor, centroids: Tensor, iterations: int) -> Tensor:
    """Lloyd's iteration on float32 points, shape (n, d), from the given centroids, shape (M, d).

    Raises:
        MissingPackageError: faiss is not installed.
    """
    try:
        with warnings.catch_warnings():
            # The classes of its wrapper have no module.
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss
    except ImportError as error:
        raise MissingPackageError("faiss", "faiss") from error
    machine = faiss.Kmeans(
        points.shape[1],
        len(centroids),
        niter=iterations,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    machine.train(points.cpu().numpy(), init_centroids=centroids.cpu().numpy())
    return torch.from_numpy(machine.centroids.copy()).to(points)
