"""What training minimises: L_RAVN (Eq. 7) of a batch, with the float network as the reference."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ravn.batches import network_inputs
from ravn.distances import DISTANCES
from ravn.fidelity import feature_points, features, fidelity_loss, first_not_finite, performance_gap, ravn_loss
from ravn.task import Task
from ravn.training import processes
from ravn.training.compilation import Network, compiled
from ravn.training.recipe import Recipe


class Objective:
    """L_RAVN (Eq. 7) of a network's batches.

    Args:
        task: its teacher, or else its float network, is the reference.
        model: the network that is trained.
        recipe: weights of the loss's parts.

    Attributes:
        trade_off: lambda (Eq. 7).
        broken: name of the first layer whose output was not finite when the loss was not.
        parts: L_fidelity and the performance gap of the last batch.
    """

    def __init__(self, task: Task, model: nn.Module, recipe: Recipe) -> None:
        self.trade_off = 1.0
        self.broken: str | None = None
        self.parts = (0.0, 0.0)
        self._model, self._recipe = model, recipe
        self._transform, self._device = task.transform, next(model.parameters()).device
        self._teacher = channels_last(copy.deepcopy(task.teacher or task.model)).eval().to(self._device)
        prepared: Callable[[nn.Module], Network] = compiled if recipe.compiled else lambda network: network
        self._call_teacher, self._call = prepared(self._teacher), prepared(model)
        self._half = recipe.mixed_precision and computes_bfloat16(self._device)
        self._points: tuple[str, ...] | None = None if recipe.fidelity else ()

    def backward(self, stored: Tensor, labels: Tensor, generator: Generator) -> float:
        """Add the gradients of this process's share of a batch to the parameters, part by part; then move lambda.

        Gradients of parts and processes add up to those of the batch, but for L_fidelity, which is that of each part.

        Args:
            stored: images as they are stored, shape (batch, ...).
            labels: shape (batch,); looked at only where the recipe gives them weight.
            generator: source of blends.

        Returns:
            The loss of the whole batch.
        """
        recipe, inputs = self._recipe, network_inputs(stored, self._transform, self._device)
        if recipe.mixing and not recipe.labels:
            inputs = mixed(inputs, recipe.mixing, generator)
        # All processes compute equally many parts: their batch norms may wait for one another.
        count = min(recipe.accumulate, processes.smallest_share(len(inputs)))
        parts = zip(*(processes.share(tensor).tensor_split(count) for tensor in (inputs, labels)), strict=True)
        sums, suspect = torch.zeros(3, dtype=torch.float64, device=self._device), inputs[:0]
        for part, marks in parts:
            share = len(part) / len(inputs)
            fidelity, gap = self._parts(part, marks)
            loss = ravn_loss(recipe.fidelity * fidelity, gap, self.trade_off)
            sums += share * torch.stack((loss, fidelity, gap)).detach()
            if not len(suspect) or not torch.isfinite(loss):
                suspect = part
            (share * loss).backward()
        processes.add_up([sums])
        total, *found = sums.tolist()
        self.parts = (found[0], found[1])
        if math.isfinite(total):
            self.trade_off = max(self.trade_off + recipe.dual_rate * (self.parts[1] - recipe.tolerance), 0.0)
        else:
            self.broken = processes.first_told(first_not_finite(self._model, suspect))
        return float(total)

    def _parts(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """L_fidelity, and m(g, g_f)."""
        recipe = self._recipe
        if self._points is None:
            names = [n for n, p in self._teacher.named_parameters() if p.dim() >= 2]
            self._points = feature_points(self._teacher, names, inputs[:2])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            with torch.no_grad(), features(self._teacher, self._points) as reference:
                target = self._call_teacher(inputs).float()
            with features(self._model, self._points) as ours:
                logits = self._call(inputs).float()
        gap = recipe.distillation * performance_gap(target, logits, recipe.temperature)
        if recipe.labels:
            gap = gap + recipe.labels * functional.cross_entropy(logits, labels.to(self._device))
        return fidelity_loss(reference, ours, DISTANCES[recipe.distance]).to(gap), gap


def channels_last(model: nn.Module) -> nn.Module:
    """Lay out the kernels of 2-d convolutions channels last, in place; other weights have no such layout."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
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
