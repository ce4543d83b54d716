"""Top-1 accuracy."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ravn.batches import in_order, network_inputs, size

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def top1_accuracy(
    model: nn.Module,
    dataset: Dataset[Any],
    transform: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 256,
    progress: Progress = iter,
) -> float:
    """Share of images whose largest logit is that of their label, in percent.

    Args:
        model: maps inputs to logits, shape (images, classes); evaluated on the device that its
            parameters are on.
        dataset: map-style data set of (stored input, label).
        transform: stored batch -> network inputs.
        batch_size: images of a batch.
        progress: wraps the loop over batches.
    """
    device = next(model.parameters()).device
    model.eval()
    correct = 0
    with torch.inference_mode():
        for stored, labels in progress(in_order(dataset, batch_size)):
            logits = model(network_inputs(stored, transform, device))
            correct += int((logits.argmax(1).cpu() == labels).sum())
    return 100.0 * correct / max(size(dataset), 1)
