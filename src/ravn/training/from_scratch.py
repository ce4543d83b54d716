"""Training of float networks to their full accuracy: what a network without a public checkpoint needs."""

import copy
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ravn.batches import network_inputs, shuffled, size
from ravn.errors import InputError, RavnError
from ravn.metrics.accuracy import top1_accuracy
from ravn.task import Task
from ravn.training.checkpoint import BROKEN, write_state
from ravn.training.objective import channels_last, computes_bfloat16
from ravn.training.randomness import seeded

Curve = list[tuple[float, float, float]]
"""Per epoch: its number, the mean loss, and the validation accuracy in percent of the weights that would be kept."""


@dataclass(frozen=True)
class FloatRecipe:
    """SGD with Nesterov's momentum and a cosine (arXiv 1512.03385, 1608.03983).

    Args:
        epochs: passes over the training images.
        batch_size: images of a step.
        learning_rate: peak rate.
        momentum: of the gradients.
        weight_decay: of the weights; biases and batch norms have none.
        warmup: share of all steps in which the rate rises from zero.
        label_smoothing: share of the target that is spread over all classes (arXiv 1512.00567).
        averaging: decay per step of the mean of the weights over time, which is what is kept; 0 keeps the last weights.
        mixed_precision: compute in bfloat16 where the hardware does; weights and losses stay in float32.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.02
    label_smoothing: float = 0.0
    averaging: float = 0.0
    mixed_precision: bool = True

    def rate(self, share: float) -> float:
        """Learning rate after a share of all steps, relative to the peak."""
        if self.warmup and share <= self.warmup:
            return share / self.warmup
        return (1 + math.cos(math.pi * (share - self.warmup) / (1 - self.warmup))) / 2


def train_from_scratch(
    task: Task,
    recipe: FloatRecipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]] = lambda items, *_: items,
    tell: Callable[[str], None] = lambda _: None,
) -> Curve:
    """Train the task's network from where it stands, in place, on its labels.

    Args:
        task: the network and its images; the test images are not looked at.
        recipe: how to train.
        seed: decides order, augmentation and dropout; every epoch draws from generators of its own.
        checkpoint: file that is written after every epoch and, where it exists, gone on from: the end is the same, bit
            for bit.
        progress: wraps the loop over the batches of an epoch, with a title.
        tell: is told what an epoch gave.

    Returns:
        The curve; the network is in eval mode and holds the weights that are kept.

    Raises:
        InputError: the checkpoint is not one of this run.
        RavnError: the loss is not finite.
    """
    run = _Training(task, recipe, seed)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    for epoch in range(len(run.curve), recipe.epochs):
        device = next(task.model.parameters()).device
        with seeded(seed * 1_000_003 + epoch, device) as generator:
            loss = run.epoch(epoch, shuffled(task.train, recipe.batch_size, generator), generator, progress)
        accuracy = top1_accuracy(run.kept, task.validation, task.transform)
        run.curve.append((epoch + 1.0, loss, accuracy))
        if checkpoint is not None:
            run.save(checkpoint)
        tell(f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.4f}, {accuracy:.2f} % of the validation images")
    task.model.load_state_dict(run.kept.state_dict())
    task.model.eval()
    return run.curve


class _Training:
    """The network, what moves it, and its mean over time."""

    def __init__(self, task: Task, recipe: FloatRecipe, seed: int) -> None:
        self._task, self._recipe = task, recipe
        self._model = channels_last(task.model)
        weights = [p for p in self._model.parameters() if p.dim() > 1]
        others = [p for p in self._model.parameters() if p.dim() <= 1]
        groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
        self.kept = copy.deepcopy(self._model) if recipe.averaging else self._model
        self.curve: Curve = []
        self._run = {"recipe": asdict(recipe), "seed": seed, "images": size(task.train), "data": task.data_name}

    def epoch(
        self,
        number: int,
        batches: Iterable[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
    ) -> float:
        """One pass over the training images; returns the mean loss."""
        recipe, task = self._recipe, self._task
        steps = max(-(-size(task.train) // recipe.batch_size), 1)
        device = next(self._model.parameters()).device
        half = recipe.mixed_precision and computes_bfloat16(device)
        self._model.train()
        total, step = 0.0, -1
        title = f"epoch {number + 1}/{recipe.epochs}"
        for step, (stored, labels) in enumerate(progress(batches, title, steps)):
            share = min((number * steps + step + 1) / (recipe.epochs * steps), 1.0)
            for group in self._optimizer.param_groups:
                group["lr"] = recipe.learning_rate * recipe.rate(share)
            inputs = network_inputs(task.augment(stored, generator), task.transform, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = self._model(inputs)
            smoothing = recipe.label_smoothing
            loss = functional.cross_entropy(logits.float(), labels.to(device), label_smoothing=smoothing)
            if not torch.isfinite(loss):
                raise RavnError(
                    f"the training loss became {loss.item()} in epoch {number + 1}, step {step + 1};"
                    f" give a learning rate below {recipe.learning_rate}"
                )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._average(number * steps + step)
            total += float(loss.detach())
        return total / max(step + 1, 1)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the mean towards the weights; early on it forgets faster, or it would remember the initial ones."""
        if self.kept is self._model:
            return
        decay = min(self._recipe.averaging, (1 + step) / (10 + step))
        for kept, new in zip(self.kept.state_dict().values(), self._model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def save(self, path: Path) -> None:
        """Write all that going on needs; an interrupted write leaves the former file."""
        state = {
            "model": self._model.state_dict(),
            "kept": self.kept.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "notes": json.dumps({"curve": self.curve, "run": self._run}),
        }
        write_state(path, state)

    def load(self, path: Path) -> None:
        """Restore what `save` wrote.

        Raises:
            InputError: the file is not a checkpoint of this run.
        """
        try:
            state = torch.load(path, map_location=next(self._model.parameters()).device, weights_only=True)
            notes = json.loads(state["notes"])
            if notes["run"] != self._run:
                raise ValueError("another run wrote it")
            self._model.load_state_dict(state["model"])
            self.kept.load_state_dict(state["kept"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.curve = [(epoch, loss, accuracy) for epoch, loss, accuracy in notes["curve"]]
        except BROKEN as error:
            raise InputError(f"{path} is not a checkpoint of this run; delete it to train from the start") from error
