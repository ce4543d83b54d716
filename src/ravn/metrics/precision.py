"""Macro average precision: what the paper's text says that it measures (Sec. 4)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ravn.batches import in_order, network_inputs


def probabilities(
    model: nn.Module, dataset: Dataset[Any], transform: Callable[[Tensor], Tensor], *, batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Softmax outputs and labels of all images.

    Args:
        model: maps inputs to logits, shape (images, classes).
        dataset: map-style data set of (stored input, label).
        transform: stored batch -> network inputs.
        batch_size: images of a batch.

    Returns:
        Probabilities, shape (images, classes), and labels, shape (images,), both on the CPU.
    """
    device = next(model.parameters()).device
    model.eval()
    outputs, targets = [], []
    with torch.inference_mode():
        for stored, labels in in_order(dataset, batch_size):
            outputs.append(model(network_inputs(stored, transform, device)).float().softmax(1).cpu())
            targets.append(labels)
    return torch.cat(outputs), torch.cat(targets)


def macro_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes of the area under precision against recall, in percent.

    `AP = mean over the images of a class of the share of the class among all images with a score as high`; classes
    without an image don't count.

    Args:
        scores: shape (images, classes); images of one score are taken together.
        labels: shape (images,).
    """
    found = [_average_precision(scores[:, c], labels == c) for c in range(scores.shape[1]) if bool((labels == c).any())]
    return 100.0 * sum(found) / max(len(found), 1)


def _average_precision(scores: Tensor, positive: Tensor) -> float:
    ordered, order = scores.double().sort(descending=True)
    hits = positive[order].double().cumsum(0)
    # The last image of a run of equal scores stands for all of them.
    last = torch.searchsorted(-ordered, -ordered, right=True)
    precision = hits[last - 1] / last
    return float(precision[positive[order]].mean())
