"""How much a network's outputs mind errors of a layer's weights, from gradients alone: a first guess at its step."""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

IMAGES, TOGETHER = 128, 4
"""Images whose gradients are looked at, and how many of them share a backward pass."""

EXPONENT = 0.5
"""Power of the Fisher information that a step follows, squared: 1 would be right for small errors that add up."""

WIDEST = 4.0
"""Octaves between a layer's step and the geometric mean of all, at most."""


def fisher_information(model: nn.Module, names: Sequence[str], batches: Sequence[Tensor]) -> dict[str, float]:
    """Mean of the diagonal of the Fisher information over the weights of each layer.

    With w the weight and g the outputs, `E_x E_{y ~ softmax(g)} (d log p(y | x) / dw)^2` is the curvature of the KL
    divergence from the float network at the float network itself (HAWQ-V2, arXiv 1911.03852, has the Hessian's trace in
    its place). Gradients of drawn classes have mean zero, so that those of a few images may be summed before squaring.

    Args:
        model: the float network.
        names: of the weights.
        batches: unlabelled network inputs, as many as there are; the first `IMAGES` are used.

    Returns:
        By name, in nats per squared unit of the weight; layers that no gradient reaches are left out.
    """
    twin = copy.deepcopy(model).eval()
    for parameter in twin.parameters():
        parameter.requires_grad = False
    weights = {name: twin.get_parameter(name).requires_grad_() for name in names}
    drawn = torch.Generator().manual_seed(0)
    totals, seen = dict.fromkeys(names, 0.0), 0
    for images in _small(batches):
        with torch.enable_grad():
            likely = twin(images).float().log_softmax(1)
            if not likely.requires_grad:
                return {}
            classes = torch.multinomial(likely.detach().exp().cpu(), 1, generator=drawn).to(likely.device)
            total = likely.gather(1, classes).sum()
        for name, gradient in zip(
            names, torch.autograd.grad(total, [*weights.values()], allow_unused=True), strict=True
        ):
            totals[name] += 0.0 if gradient is None else float(gradient.square().mean())
        seen += len(images)
    return {name: total / seen for name, total in totals.items() if 0 < total < math.inf}


def step_octaves(information: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Binary logarithm of every layer's step, relative to their geometric mean, in quarters.

    Args:
        information: what `fisher_information` gives.
        names: of all layers; those without information have 0.
    """
    logs = {name: math.log2(value) for name, value in information.items()}
    middle = sum(logs.values()) / max(len(logs), 1)
    octaves = {name: -EXPONENT / 2 * (logs.get(name, middle) - middle) for name in names}
    return {name: round(4 * min(max(value, -WIDEST), WIDEST)) / 4 for name, value in octaves.items()}


def _small(batches: Sequence[Tensor]) -> list[Tensor]:
    parts = [part for batch in batches for part in batch.split(TOGETHER)]
    return parts[: IMAGES // TOGETHER]
