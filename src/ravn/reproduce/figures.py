"""Figures 2 and 3: kernels of one layer before and after, laid out by t-SNE, coloured by cluster.

A point is a kernel: the weights from one input channel to one output channel, such as 3 x 3 numbers. The paper plots
"weights"; of single numbers there is nothing to lay out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ravn.adapters import make_task
from ravn.codecs.kmeans_vectors import kmeans_vectors, nearest_vectors
from ravn.errors import InputError, MissingPackageError
from ravn.layers import weight_layers
from ravn.loading import load
from ravn.reports.charts import scatter
from ravn.reproduce.catalogue import NORMALIZATIONS
from ravn.reproduce.cells import PROPOSED, Results
from ravn.reproduce.running import Study
from ravn.reproduce.schedule import Options, cells_of
from ravn.writing import write_atomic

FIGURES = {
    "figure2.svg": "Figure 2: kernels of the float network, t-SNE, coloured by cluster",
    "figure3.svg": "Figure 3: the same kernels, loaded back from the compressed file",
}
CLUSTERS, KERNELS = 8, 2000
"""Colours, and the most points."""

Points = NDArray[np.float64]
Layout = Callable[[Points], Points]
"""From points, shape (n, d), to the plane, shape (n, 2)."""


def draw_figures(results: Results, options: Options, study: Study, folder: Path, layout: Layout | None = None) -> None:
    """Draw both figures of the first network and data set, from its proposed file.

    Args:
        results: holds the file.
        options: names the network, the data set and the bits.
        study: where the float weights lie.
        folder: gets figure2.svg and figure3.svg.
        layout: lays points out; None for t-SNE.

    Raises:
        InputError: the file is not there yet, or the network has no kernels.
        MissingPackageError: openTSNE is not installed.
    """
    layout = layout or tsne
    cell = next(cell for cell in cells_of("table3", options) if cell.method == PROPOSED)
    file = results.runs(cell) / "model.ravn"
    if not file.is_file():
        raise InputError(f"there is no {file} to draw; run: ravn reproduce table3 first, with the same options")
    sources, pair = study.sources, (cell.network, cell.dataset)
    task = make_task(
        sources.model(*pair),
        sources.images(cell.dataset),
        weights=sources.weights(*pair),
        normalize=NORMALIZATIONS.get((cell.dataset, cell.network)),
    )
    name = largest_kernels(task.model)
    before = kernels(task.model.get_parameter(name))
    after = kernels(load(file, task.model).get_parameter(name))
    places = layout(np.concatenate([before.numpy(), after.numpy()]).astype(np.float64))
    owners = nearest_vectors(before, kmeans_vectors(before, CLUSTERS, seed=0)).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    halves = places[: len(before)], places[len(before) :]
    for (figure, title), half in zip(FIGURES.items(), halves, strict=True):
        caption = f"{title.partition(': ')[2]} ({name}, {len(before):,} kernels)"
        svg = scatter([(float(x), float(y)) for x, y in half], owners, caption)
        write_atomic(folder / figure, svg.encode())


def largest_kernels(model: nn.Module) -> str:
    """Name of the weight with the most kernels of more than one number.

    Raises:
        InputError: there is none.
    """
    found = [layer for layer in weight_layers(model) if len(layer.shape) > 2 and max(layer.shape[2:]) > 1]
    if not found:
        raise InputError(f"{type(model).__name__} has no kernels of more than one weight to draw")
    return max(found, key=lambda layer: layer.parameters).name


def kernels(weight: Tensor) -> Tensor:
    """Kernels of a weight, evenly taken where there are too many, shape (kernels, weights of one)."""
    flat = weight.detach().float().cpu().flatten(2).flatten(0, 1)
    rows = torch.linspace(0, len(flat) - 1, min(len(flat), KERNELS)).round().long()
    return flat[rows]


def tsne(points: Points) -> Points:
    """Lay points out by t-SNE (van der Maaten and Hinton 2008); the same points always in the same way.

    Raises:
        MissingPackageError: openTSNE is not installed.
    """
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingPackageError("openTSNE", "figures") from error
    layout: Any = TSNE(random_state=0, n_jobs=1).fit(points)
    return np.asarray(layout, dtype=np.float64)
