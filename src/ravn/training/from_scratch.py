"""Training of float networks to their full accuracy: what a network without a public checkpoint needs."""

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ravn.batches import network_inputs, shuffled, size
from ravn.errors import InputError
from ravn.fidelity import first_not_finite
from ravn.metrics.accuracy import top1_accuracy
from ravn.progress import Progress, Silent
from ravn.task import Task
from ravn.training import processes
from ravn.training.bounds import ensure_count, ensure_number
from ravn.training.checkpoint import BROKEN, Curve, read_state, write_state
from ravn.training.divergence import Place, check_gradients, check_loss, check_state
from ravn.training.objective import channels_last, computes_bfloat16
from ravn.training.randomness import seeded
from ravn.training.shared_norms import shared_statistics


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

    Raises:
        InputError: a number is out of its bounds.
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

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            ensure_count(name, getattr(self, name), 1)
        for name in ("learning_rate", "weight_decay"):
            ensure_number(name, getattr(self, name), 0)
        for name in ("momentum", "label_smoothing", "averaging", "warmup"):
            ensure_number(name, getattr(self, name), 0, 1)

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
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Curve:
    """Train the task's network from where it stands, in place, on its labels.

    Several processes share every batch, as `ravn.training.train` does; the first one alone uses the checkpoint.

    Args:
        task: the network and its images; the test images are not looked at.
        recipe: how to train.
        seed: decides order, augmentation and dropout; every epoch draws from generators of its own.
        checkpoint: file that is written after every epoch and, where it exists, gone on from: the end is the same, bit
            for bit.
        progress: is told how far an epoch is, what it gave, and the figures of every step.

    Returns:
        Per epoch its number, the mean loss, and the validation accuracy in percent of the weights that would be kept.
        The network is in eval mode and holds these weights.

    Raises:
        InputError: the checkpoint is not one of this run, or batches are too small for so many processes.
        RavnError: the loss, a gradient or the network is not finite - the layer is named - or the checkpoint can't be
            written. The checkpoint of the last epoch is left.
    """
    processes.ensure_shareable(recipe.batch_size, size(task.train))
    run = _Training(task, recipe, seed)
    former = processes.from_first(checkpoint.read_bytes() if checkpoint is not None and checkpoint.exists() else None)
    if former is not None:
        run.load(former, source=str(checkpoint))
    for epoch in range(len(run.curve), recipe.epochs):
        with seeded(seed * 1_000_003 + epoch, run.device) as generator, shared_statistics(task.model):
            loss = run.epoch(epoch, generator, progress)
        accuracy = top1_accuracy(run.kept, task.validation, task.transform)
        run.curve.append((epoch + 1.0, loss, accuracy))
        progress.figures((epoch + 1) * run.steps, {"validation/accuracy": accuracy, "validation/epoch loss": loss})
        if checkpoint is not None and processes.is_first():
            run.save(checkpoint)
        progress.stage(f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.4f}, {accuracy:.2f} % of the validation images")
    task.model.load_state_dict(run.kept.state_dict())
    task.model.eval()
    return run.curve


class _Training:
    """The network, what moves it, and its mean over time."""

    def __init__(self, task: Task, recipe: FloatRecipe, seed: int) -> None:
        self._task, self._recipe = task, recipe
        self._model = channels_last(task.model)
        self.device = next(self._model.parameters()).device
        self._half = recipe.mixed_precision and computes_bfloat16(self.device)
        weights = [p for p in self._model.parameters() if p.dim() > 1]
        others = [p for p in self._model.parameters() if p.dim() <= 1]
        groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        momentum = recipe.momentum
        self._optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=momentum, nesterov=momentum > 0)
        self.kept = copy.deepcopy(self._model) if recipe.averaging else self._model
        self.steps = max(-(-size(task.train) // recipe.batch_size), 1)
        self.curve: Curve = []
        self._run = {"recipe": asdict(recipe), "seed": seed, "images": size(task.train), "data": task.data_name}

    def epoch(self, number: int, generator: torch.Generator, progress: Progress) -> float:
        """One pass over the training images; returns the mean loss."""
        recipe = self._recipe
        self._model.train()
        batches = shuffled(self._task.train, recipe.batch_size, generator)
        total, step = 0.0, -1
        for step, batch in enumerate(progress.track(batches, f"epoch {number + 1}/{recipe.epochs}", self.steps)):
            done = number * self.steps + step + 1
            rate = recipe.learning_rate * recipe.rate(min(done / (recipe.epochs * self.steps), 1.0))
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            loss = self._step(batch, generator, Place(number, step, recipe.learning_rate))
            self._average(done - 1)
            progress.figures(done, {"loss/total": loss, "learning rate": rate})
            total += loss
        check_state(self._model, Place(number, step, recipe.learning_rate))
        return total / max(step + 1, 1)

    def _step(self, batch: tuple[Tensor, Tensor], generator: torch.Generator, place: Place) -> float:
        """Move the weights by the gradients of a batch; returns its loss."""
        stored, labels = batch
        stored = self._task.augment(stored, generator)
        inputs, marks = processes.share(stored), processes.share(labels).to(self.device)
        inputs = network_inputs(inputs, self._task.transform, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits = self._model(inputs)
        smoothing = self._recipe.label_smoothing
        loss = functional.cross_entropy(logits.float(), marks, label_smoothing=smoothing) * len(inputs) / len(stored)
        self._optimizer.zero_grad()
        loss.backward()
        parameters = dict(self._model.named_parameters())
        whole = loss.detach().double()
        processes.add_up([whole, *(p.grad for p in parameters.values() if p.grad is not None)])
        if not torch.isfinite(whole):
            broken = processes.first_told(first_not_finite(self._model, inputs))
            check_loss(float(whole), broken, place)
        check_gradients(parameters, place)
        self._optimizer.step()
        return float(whole)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the mean towards the weights; early on it forgets faster, or it would remember the initial ones."""
        if self.kept is self._model:
            return
        decay = min(self._recipe.averaging, (1 + step) / (10 + step))
        # Not by the names of a state dict: tied weights have several, and would move as often.
        networks = self.kept, self._model
        for kept, new in zip(*((*n.parameters(), *n.buffers()) for n in networks), strict=True):
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

    def load(self, data: bytes, *, source: str) -> None:
        """Restore what `save` wrote.

        Raises:
            InputError: the file is not a checkpoint of this run.
        """
        try:
            state, notes = read_state(data, self._run, self.device)
            self._model.load_state_dict(state["model"])
            self.kept.load_state_dict(state["kept"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.curve = [(epoch, loss, accuracy) for epoch, loss, accuracy in notes["curve"]]
        except BROKEN as error:
            raise InputError(f"{source} is not a checkpoint of this run; delete it to train from the start") from error
