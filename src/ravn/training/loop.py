"""Fine-tuning under a plan: the weight half of Algorithm 1."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ravn.batches import calibration_inputs, shuffled, size, taught
from ravn.batchnorm import NORM_IMAGES, reestimated
from ravn.codecs import CodebookCodec, Codec
from ravn.metrics.accuracy import top1_accuracy
from ravn.progress import Progress, Silent
from ravn.task import Task
from ravn.training import processes
from ravn.training.checkpoint import Curve, load_checkpoint, save_checkpoint
from ravn.training.divergence import Place, check_gradients, check_loss, check_state
from ravn.training.objective import Objective, channels_last
from ravn.training.randomness import seeded
from ravn.training.recipe import Recipe
from ravn.training.shared_norms import shared_statistics
from ravn.training.straight_through import StraightThrough


@dataclass
class Trained:
    """What training gives: the latent weights, the codecs that fit them, and the curve.

    Args:
        model: the network, holding quantized weights.
        latents: latent weight of every layer.
        codecs: codecs with the steps that the budget asked for at the end.
        curve: (epoch, mean training loss, validation accuracy in percent).
    """

    model: nn.Module
    latents: dict[str, Tensor]
    codecs: dict[str, Codec]
    curve: list[tuple[float, float, float]]


def train(
    task: Task,
    start: nn.Module,
    codecs: Mapping[str, Codec],
    capacity_bytes: int,
    *,
    recipe: Recipe,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Trained:
    """Train the quantized network back under L_RAVN (Eq. 7), straight through its quantization.

    Under `torchrun` or `accelerate launch`, once `torch.distributed` is initialised, every process must call it with
    the same arguments; each computes its share of every batch, and the first one alone uses the checkpoint.

    Args:
        task: its model is the float teacher; it is not changed.
        start: network that holds the float weights to start from. Quantized ones are a worse start, however good
            their rounding: the place inside its cell tells a weight where it may go next.
        codecs: codec of every layer.
        capacity_bytes: payload bytes that the codes may take.
        recipe: how to train.
        seed: decides order, augmentation and dropout; every epoch draws from generators of its own.
        checkpoint: file that is written after every epoch and, where it exists, gone on from.
        progress: is told how far an epoch is, and the figures of every step.

    Raises:
        InputError: the checkpoint is not one of this run, or batches are too small for so many processes.
        RavnError: the loss, a gradient or the network is not finite - the layer is named - or the weights grow beyond
            what can be coded, or the checkpoint can't be written. The checkpoint of the last epoch is left.
    """
    processes.ensure_shareable(recipe.batch_size, size(task.train))
    processes.ensure_compilable(compiled=recipe.compiled, batch_statistics=recipe.batch_statistics)
    run = _Training(task, start, codecs, capacity_bytes, recipe)
    plan = {name: codec.config() for name, codec in codecs.items()}
    # Compiled or not, it is the same run.
    recipe_told = {name: value for name, value in asdict(recipe).items() if name != "compiled"}
    about = {"recipe": recipe_told, "seed": seed, "capacity_bytes": capacity_bytes, "plan": plan}
    if task.unlabeled is not None:
        about |= {"unlabeled": task.unlabeled_name, "unlabeled_images": size(task.unlabeled)}
    former = processes.from_first(checkpoint.read_bytes() if checkpoint is not None and checkpoint.exists() else None)
    run.begin(former, about, seed=seed, source=str(checkpoint))
    for epoch in range(len(run.curve), recipe.epochs):
        with seeded(seed * 1_000_003 + epoch, run.device) as generator, shared_statistics(run.model):
            loss = run.epoch(epoch, generator, progress)
        accuracy = top1_accuracy(run.model, task.validation, task.transform)
        run.curve.append((epoch + 1.0, loss, accuracy))
        progress.figures((epoch + 1) * run.steps, {"validation/accuracy": accuracy, "validation/epoch loss": loss})
        if checkpoint is not None and processes.is_first():
            run.save(checkpoint, about)
    return Trained(run.model.eval(), run.quantized.weights(), run.quantized.codecs, run.curve)


class _Training:
    """The network, its latent weights, and what moves them."""

    def __init__(
        self, task: Task, start: nn.Module, codecs: Mapping[str, Codec], capacity_bytes: int, recipe: Recipe
    ) -> None:
        self._task, self._recipe = task, recipe
        self.model = channels_last(copy.deepcopy(start))
        self.device = next(self.model.parameters()).device
        latents = {name: self.model.get_parameter(name).detach() for name in codecs}
        self._weights = max(sum(latent.numel() for latent in latents.values()), 1)
        self.quantized = StraightThrough(self.model, codecs, capacity_bytes, latents)
        others = {n: p for n, p in self.model.named_parameters() if n not in latents}
        self._moved = self.quantized.latents | others
        self._images = taught(task)
        self.steps = max(-(-size(self._images) // recipe.batch_size), 1)
        peak = recipe.peak(8 * capacity_bytes / self._weights, recipe.epochs * self.steps)
        groups = [
            {"params": self.quantized.parameters(), "weight_decay": recipe.weight_decay, "peak": peak},
            {"params": list(others.values()), "weight_decay": 0.0, "peak": peak * recipe.other_rate},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=peak)
        self._objective = Objective(task, self.model, recipe)
        self.curve: Curve = []
        self._loss = 0.0

    def begin(self, former: bytes | None, about: Mapping[str, Any], *, seed: int, source: str) -> None:
        """Go on from a checkpoint, or fit levels to the weights for the first time."""
        if former is not None:
            state = (self.model, self.quantized, self._optimizer)
            self.curve, self._objective.trade_off = load_checkpoint(former, *state, about, source=source)
            return
        self.quantized.refit()
        codebooks = any(isinstance(codec, CodebookCodec) for codec in self.quantized.codecs.values())
        if codebooks and not self._recipe.batch_statistics:
            # Codebooks begin so far from the float network that under its statistics little or nothing is learned;
            # entropy-coded weights begin nearer, and end nearer under them (docs/experiments.md).
            inputs = calibration_inputs(self._task, NORM_IMAGES, seed=seed, device=self.device)
            self.model.load_state_dict(reestimated(self.model, inputs).state_dict())

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write all that going on needs."""
        state = (self.model, self.quantized, self._optimizer)
        save_checkpoint(path, *state, self.curve, self._objective.trade_off, about)

    def epoch(self, number: int, generator: Generator, progress: Progress) -> float:
        """One pass over the training images; returns the mean loss."""
        recipe = self._recipe
        training_mode(self.model, batch_statistics=recipe.batch_statistics)
        batches = shuffled(self._images, recipe.batch_size, generator)
        total, step = 0.0, -1
        for step, batch in enumerate(progress.track(batches, f"epoch {number + 1}/{recipe.epochs}", self.steps)):
            done = number * self.steps + step + 1
            for group in self._optimizer.param_groups:
                group["lr"] = group["peak"] * recipe.rate(min(done / (recipe.epochs * self.steps), 1.0))
            total += self._step(batch, generator, Place(number, step, recipe.learning_rate))
            progress.figures(done, self._figures())
        place = Place(number, step, recipe.learning_rate)
        with _naming(place):
            self._refit()
        check_state(self.model, place)
        return total / max(step + 1, 1)

    def _step(self, batch: tuple[Tensor, Tensor], generator: Generator, place: Place) -> float:
        """Move everything by the gradients of a batch; returns its loss."""
        stored, labels = batch
        self._optimizer.zero_grad()
        self._loss = self._objective.backward(self._task.augment(stored, generator), labels, generator)
        check_loss(self._loss, self._objective.broken, place)
        self.quantized.take_gradients()
        processes.add_up(p.grad for p in self._moved.values() if p.grad is not None)
        check_gradients(self._moved, place)
        self._optimizer.step()
        with _naming(place):
            if (place.step + 1) % self._recipe.refit_every == 0:
                self._refit()
            else:
                self.quantized.refresh()
        return self._loss

    def _refit(self) -> None:
        self.quantized.refit(self._recipe.refit_every * self._optimizer.param_groups[0]["lr"])

    def _figures(self) -> dict[str, float]:
        """What is known of the last step."""
        (fidelity, gap), payload = self._objective.parts, self.quantized.payload_bytes
        figures = {
            "loss/total": self._loss,
            "loss/fidelity": fidelity,
            "loss/performance gap": gap,
            "loss/lambda": self._objective.trade_off,
            "learning rate": self._optimizer.param_groups[0]["lr"],
        }
        return figures if payload is None else figures | {"bits per weight": 8 * payload / self._weights}


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Weights that can't be coded any more have diverged; the error says where."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise place.diverged("the weights grew beyond what can be coded") from error


def training_mode(model: nn.Module, *, batch_statistics: bool) -> nn.Module:
    """Set a network to train, in place; its batch norms only where they shall follow the batches."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    return model
