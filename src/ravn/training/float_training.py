"""Training of float networks that have no checkpoint."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ravn.batches import network_inputs, shuffled
from ravn.task import Task
from ravn.training.randomness import seeded


def train_float(
    task: Task,
    epochs: int,
    *,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]] = lambda items, *_: items,
) -> nn.Module:
    """Train the task's network from where it stands, in place: AdamW, cosine, the task's augmentation.

    Args:
        task: the network and its images.
        epochs: passes over the training images.
        learning_rate: peak rate.
        batch_size: images of a step.
        seed: decides order, augmentation and dropout.
        progress: wraps the loop over epochs.

    Returns:
        The same network, in eval mode.
    """
    model = task.model.train()
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-2)
    with seeded(seed, device) as generator:
        for epoch in progress(range(epochs), "train the float network", epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
            for stored, labels in shuffled(task.train, batch_size, generator):
                inputs = network_inputs(task.augment(stored, generator), task.transform, device)
                loss = functional.cross_entropy(model(inputs), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()
