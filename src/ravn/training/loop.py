"""Fine-tuning under a plan: the weight half of Algorithm 1."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ravn.batches import shuffled, size
from ravn.codecs import Codec
from ravn.errors import InputError, RavnError
from ravn.metrics.accuracy import top1_accuracy
from ravn.task import Task
from ravn.training import processes
from ravn.training.checkpoint import load_checkpoint, save_checkpoint
from ravn.training.objective import Objective, channels_last
from ravn.training.randomness import seeded
from ravn.training.recipe import Recipe
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
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]] = lambda items, *_: items,
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
        progress: wraps the loop over the batches of an epoch, with a title.

    Raises:
        InputError: the checkpoint is not one of this run.
        RavnError: the loss or a gradient is not finite - the layer is named - or the weights grow beyond what can be
            coded. The checkpoint of the last epoch is left.
    """
    model = channels_last(copy.deepcopy(start))
    latents = {name: model.get_parameter(name).detach() for name in codecs}
    quantized = StraightThrough(model, codecs, capacity_bytes, latents)
    others = [p for n, p in model.named_parameters() if n not in quantized.latents]
    bits = 8 * capacity_bytes / max(sum(latent.numel() for latent in latents.values()), 1)
    peak = recipe.learning_rate * recipe.decay_per_bit ** (bits - 1)
    groups = [
        {"params": quantized.parameters(), "weight_decay": recipe.weight_decay, "peak": peak},
        {"params": others, "weight_decay": 0.0, "peak": peak * recipe.other_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak)
    objective = Objective(task, model, recipe)
    curve: list[tuple[float, float, float]] = []
    plan = {name: codec.config() for name, codec in codecs.items()}
    run = {"recipe": asdict(recipe), "seed": seed, "capacity_bytes": capacity_bytes, "plan": plan}
    former = processes.from_first(checkpoint.read_bytes() if checkpoint is not None and checkpoint.exists() else None)
    if former is not None:
        curve, objective.trade_off = load_checkpoint(former, model, quantized, optimizer, run, source=str(checkpoint))
    else:
        quantized.refit()
    steps = max(-(-size(task.train) // recipe.batch_size), 1)
    for epoch in range(len(curve), recipe.epochs):
        training_mode(model, batch_statistics=recipe.batch_statistics)
        with seeded(seed * 1_000_003 + epoch, next(model.parameters()).device) as generator:
            loss = _epoch(task, quantized, optimizer, objective, recipe, (epoch, steps), generator, progress)
        accuracy = top1_accuracy(model, task.validation, task.transform)
        curve.append((epoch + 1.0, loss, accuracy))
        if checkpoint is not None and processes.is_first():
            save_checkpoint(checkpoint, model, quantized, optimizer, curve, objective.trade_off, run)
    return Trained(model.eval(), quantized.weights(), quantized.codecs, curve)


def _epoch(
    task: Task,
    quantized: StraightThrough,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    recipe: Recipe,
    place: tuple[int, int],
    generator: Generator,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> float:
    """One pass over the training images; returns the mean loss."""
    epoch, steps = place
    total, step = 0.0, -1
    batches = shuffled(task.train, recipe.batch_size, generator)
    for step, (stored, labels) in enumerate(progress(batches, f"epoch {epoch + 1}/{recipe.epochs}", steps)):
        share = (epoch * steps + step + 1) / (recipe.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * recipe.rate(min(share, 1.0))
        optimizer.zero_grad()
        loss = objective.backward(task.augment(stored, generator), labels, generator)
        if not math.isfinite(loss):
            where = f" (the first output that is not finite: layer {objective.broken!r})" if objective.broken else ""
            raise _diverged(f"the training loss became {loss}{where}", (epoch, step), recipe)
        quantized.take_gradients()
        processes.add_up(p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
        check_gradients(quantized, (epoch, step), recipe)
        optimizer.step()
        with _naming((epoch, step), recipe):
            if (step + 1) % recipe.refit_every == 0:
                quantized.refit()
            else:
                quantized.refresh()
        total += loss
    with _naming((epoch, step), recipe):
        quantized.refit()
    return total / max(step + 1, 1)


def check_gradients(quantized: StraightThrough, place: tuple[int, int], recipe: Recipe) -> None:
    """Refuse gradients that would spoil weights.

    Raises:
        RavnError: one is infinite or NaN; the layer is named.
    """
    for name, latent in quantized.latents.items():
        if latent.grad is not None and not torch.isfinite(latent.grad).all():
            raise _diverged(f"the gradient of {name!r} became infinite or NaN", place, recipe)


@contextmanager
def _naming(place: tuple[int, int], recipe: Recipe) -> Iterator[None]:
    """Weights that can't be coded any more have diverged; the error says where."""
    try:
        yield
    except InputError as error:
        raise _diverged("the weights grew beyond what can be coded", place, recipe) from error


def _diverged(what: str, place: tuple[int, int], recipe: Recipe) -> RavnError:
    epoch, step = place
    return RavnError(f"{what} in epoch {epoch + 1}, step {step + 1}; give a learning rate below {recipe.learning_rate}")


def training_mode(model: nn.Module, *, batch_statistics: bool) -> nn.Module:
    """Set a network to train, in place; its batch norms only where they shall follow the batches."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    return model
