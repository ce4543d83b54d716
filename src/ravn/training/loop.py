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
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ravn.batches import network_inputs, shuffled, size
from ravn.codecs import Codec
from ravn.errors import InputError, RavnError
from ravn.fidelity import feature_points, features, fidelity_loss, performance_gap, ravn_loss
from ravn.metrics.accuracy import top1_accuracy
from ravn.task import Task
from ravn.training.checkpoint import load_checkpoint, save_checkpoint
from ravn.training.randomness import seeded
from ravn.training.straight_through import StraightThrough


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Args:
        epochs: passes over the training images.
        batch_size: images of a step.
        learning_rate: peak rate of AdamW (arXiv 1711.05101), at one bit per weight.
        other_rate: learning rate of what is not a code - norms, biases - relative to that of the weights.
        decay_per_bit: factor of the learning rate for each bit per weight above one: steps are halved, and so are the
            moves that training should make.
        weight_decay: of the latent weights.
        final_rate: share of the peak rate at the end of the cosine (arXiv 1608.03983).
        warmup: share of all steps in which the rate rises from zero.
        fidelity: weight of L_fidelity (Eq. 6); 1 in the paper.
        distillation: weight of the KL divergence from the float network's outputs.
        labels: weight of the cross-entropy with the labels; 0 never looks at them.
        mixing: share of the inputs that are blended with others; with labels none is, and inputs that are not numbers
            on a scale, such as tokens, never are.
        refit_every: steps between two fits of steps, centroids and code lengths to the weights.
        mixed_precision: compute in bfloat16 where the hardware does; weights and losses stay in float32.
        batch_statistics: batch norms normalise by the statistics of every batch and are re-estimated afterwards, as in
            the training of float networks; otherwise they keep the statistics of the float network, as the file does.
    """

    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 1e-3
    other_rate: float = 4.0
    decay_per_bit: float = 0.5
    weight_decay: float = 0.0
    final_rate: float = 0.0
    warmup: float = 0.05
    fidelity: float = 0.0
    distillation: float = 1.0
    labels: float = 0.0
    mixing: float = 0.75
    refit_every: int = 50
    mixed_precision: bool = True
    batch_statistics: bool = False

    def rate(self, share: float) -> float:
        """Learning rate after a share of all steps, relative to the peak."""
        if self.warmup and share <= self.warmup:
            return share / self.warmup
        cosine = (1 + math.cos(math.pi * (share - self.warmup) / (1 - self.warmup))) / 2
        return self.final_rate + (1 - self.final_rate) * cosine


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
        RavnError: the loss is not finite, or the weights grow beyond what can be coded.
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
    curve: list[tuple[float, float, float]] = []
    plan = {name: codec.config() for name, codec in codecs.items()}
    run = {"recipe": asdict(recipe), "seed": seed, "capacity_bytes": capacity_bytes, "plan": plan}
    if checkpoint is not None and checkpoint.exists():
        curve = load_checkpoint(checkpoint, model, quantized, optimizer, run)
    else:
        quantized.refit()
    steps = max(-(-size(task.train) // recipe.batch_size), 1)
    for epoch in range(len(curve), recipe.epochs):
        with seeded(seed * 1_000_003 + epoch, next(model.parameters()).device) as generator:
            loss = _epoch(task, model, quantized, optimizer, recipe, (epoch, steps), generator, progress)
        accuracy = top1_accuracy(model, task.validation, task.transform)
        curve.append((epoch + 1.0, loss, accuracy))
        if checkpoint is not None:
            save_checkpoint(checkpoint, model, quantized, optimizer, curve, run)
    return Trained(model.eval(), quantized.weights(), quantized.codecs, curve)


def _epoch(
    task: Task,
    model: nn.Module,
    quantized: StraightThrough,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    place: tuple[int, int],
    generator: Generator,
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> float:
    """One pass over the training images; returns the mean loss."""
    epoch, steps = place
    loss_of = _Loss(task, model, recipe)
    training_mode(model, batch_statistics=recipe.batch_statistics)
    total, step = 0.0, -1
    batches = shuffled(task.train, recipe.batch_size, generator)
    for step, (stored, labels) in enumerate(progress(batches, f"epoch {epoch + 1}/{recipe.epochs}", steps)):
        share = (epoch * steps + step + 1) / (recipe.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * recipe.rate(min(share, 1.0))
        loss = loss_of(task.augment(stored, generator), labels, generator)
        if not torch.isfinite(loss):
            raise _diverged(f"the training loss became {loss.item()}", (epoch, step), recipe)
        optimizer.zero_grad()
        loss.backward()
        quantized.take_gradients()
        optimizer.step()
        with _naming((epoch, step), recipe):
            if (step + 1) % recipe.refit_every == 0:
                quantized.refit()
            else:
                quantized.refresh()
        total += float(loss.detach())
    with _naming((epoch, step), recipe):
        quantized.refit()
    return total / max(step + 1, 1)


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


class _Loss:
    """L_RAVN (Eq. 7) of a batch, with the float network as the reference."""

    def __init__(self, task: Task, model: nn.Module, recipe: Recipe) -> None:
        self._teacher = channels_last(copy.deepcopy(task.model)).eval()
        self._model, self._recipe = model, recipe
        self._transform, self._device = task.transform, next(model.parameters()).device
        self._half = recipe.mixed_precision and computes_bfloat16(self._device)
        self._points: tuple[str, ...] | None = None if recipe.fidelity else ()

    def __call__(self, stored: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        recipe, inputs = self._recipe, network_inputs(stored, self._transform, self._device)
        if recipe.mixing and not recipe.labels:
            inputs = mixed(inputs, recipe.mixing, generator)
        if self._points is None:
            names = [n for n, p in self._teacher.named_parameters() if p.dim() >= 2]
            self._points = feature_points(self._teacher, names, inputs[:2])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            with torch.no_grad(), features(self._teacher, self._points) as reference:
                target = self._teacher(inputs).float()
            with features(self._model, self._points) as ours:
                logits = self._model(inputs).float()
        gap = recipe.distillation * performance_gap(target, logits)
        if recipe.labels:
            gap = gap + recipe.labels * functional.cross_entropy(logits, labels.to(self._device))
        if not self._points:
            return gap
        return ravn_loss(recipe.fidelity * fidelity_loss(reference, ours), gap)


def channels_last(model: nn.Module) -> nn.Module:
    """Lay out the kernels of 2-d convolutions channels last, in place; other weights have no such layout."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def training_mode(model: nn.Module, *, batch_statistics: bool) -> nn.Module:
    """Set a network to train, in place; its batch norms only where they shall follow the batches."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    return model


def mixed(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Blend a share of the inputs with others of the batch (mixup, arXiv 1710.09412).

    The float network has fitted its training images and is sure of them; between them it has more to teach
    (arXiv 2106.05237).

    Args:
        inputs: network inputs, shape (batch, ...); such as are not numbers on a scale stay as they are.
        share: of the inputs that are blended, in 0..1.
        generator: source of the draws.

    Returns:
        Inputs of the same shape; each has at least half of its own.
    """
    if not inputs.is_floating_point():
        return inputs
    weight, chance = torch.rand((2, len(inputs), *[1] * (inputs.dim() - 1)), generator=generator)
    weight = torch.where(chance < share, torch.maximum(weight, 1 - weight), 1.0).to(inputs)
    other = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    return torch.lerp(inputs[other], inputs, weight)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; elsewhere it would be slower than float32."""
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
