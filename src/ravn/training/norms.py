"""The last polish: biases and norms are trained under codes that are final."""

import copy
from collections.abc import Collection, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from ravn.batches import shuffled, size, taught
from ravn.progress import Progress, Silent
from ravn.task import Task
from ravn.training import processes
from ravn.training.divergence import Place, check_gradients, check_loss, check_state
from ravn.training.objective import Objective, channels_last
from ravn.training.randomness import seeded
from ravn.training.recipe import Recipe

MOST_STEPS, LARGEST_SHARE = 400, 0.25
"""Length of the polish, and how much of the training before it that is at most."""


def train_norms(
    task: Task,
    network: nn.Module,
    fixed: Collection[str],
    *,
    recipe: Recipe,
    seed: int = 0,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> nn.Module:
    """Train what is not a code, in eval mode, as the file will be used; several processes share every batch.

    Args:
        task: its model is the float teacher; it is not changed.
        network: holds the final weights; it is not changed.
        fixed: names of the parameters that stay as they are.
        recipe: of the training before: its loss, batches, schedule and rate.
        seed: decides order and augmentation.
        progress: is told how far it is.

    Returns:
        A copy with other biases and norms, in eval mode.

    Raises:
        RavnError: the loss, a gradient or the network is not finite; the layer is named.
    """
    model = channels_last(copy.deepcopy(network)).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in fixed)
    moved = {name: p for name, p in model.named_parameters() if name not in fixed}
    if not moved:
        return model
    peak = recipe.learning_rate
    optimizer = torch.optim.AdamW(moved.values(), lr=peak, weight_decay=0.0)
    objective = Objective(task, model, recipe)
    images = taught(task)
    total = steps_of(recipe, size(images))
    with seeded(seed, next(model.parameters()).device) as generator:
        batches = islice(_endless(images, recipe, generator), total)
        for step, (stored, labels) in enumerate(progress.track(batches, "norms and biases", total)):
            for group in optimizer.param_groups:
                group["lr"] = peak * recipe.rate((step + 1) / total)
            optimizer.zero_grad()
            place = Place(0, step, peak)
            loss = objective.backward(task.augment(stored, generator), labels, generator)
            check_loss(loss, objective.broken, place)
            processes.add_up(p.grad for p in moved.values() if p.grad is not None)
            check_gradients(moved, place)
            optimizer.step()
    check_state(model, Place(0, total - 1, peak))
    return model


def steps_of(recipe: Recipe, images: int) -> int:
    """Steps of the polish after a training of so many images an epoch."""
    before = recipe.epochs * -(-images // recipe.batch_size)
    return max(min(MOST_STEPS, round(LARGEST_SHARE * before)), 1)


def _endless(images: Dataset[Any], recipe: Recipe, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches, epoch after epoch."""
    for _ in count():
        yield from shuffled(images, recipe.batch_size, generator)
