"""Batch norms of several processes normalise by the statistics of the whole batch, as that of one process does.

`torch.nn.SyncBatchNorm` does so on GPUs alone, and as another kind of layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ravn.training import processes


@contextmanager
def shared_statistics(model: nn.Module) -> Iterator[None]:
    """Let the batch norms of a network that are in training mode see all processes' images.

    Every process has to run the network equally often, forward and backward, while this lasts.

    Args:
        model: the network; its layers come back as they were.
    """
    norms = [m for m in model.modules() if processes.count() > 1 and isinstance(m, _BatchNorm)]
    for norm in norms:
        # On the instance, where it hides the method of the class.
        norm.__dict__["forward"] = partial(_forward, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, inputs)
    values, dims = inputs.float(), [0, *range(2, inputs.dim())]
    shape = [1, -1, *[1] * (inputs.dim() - 2)]
    count = _total(values.new_tensor([values.numel() / values.shape[1]]))
    mean = _total(values.sum(dims)) / count
    centred = values - mean.reshape(shape)
    variance = _total(centred.square().sum(dims)) / count
    _follow(norm, mean.detach(), (variance * count / (count - 1).clamp_min(1)).detach())
    result = centred * torch.rsqrt(variance + norm.eps).reshape(shape)
    if norm.affine:
        result = result * norm.weight.float().reshape(shape) + norm.bias.float().reshape(shape)
    return result.to(inputs.dtype)


@torch.no_grad()
def _follow(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, where there are some, as torch does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var), momentum)


class _Sum(torch.autograd.Function):
    """The sum over all processes; a process's addend moves the loss of each of them."""

    @staticmethod
    def forward(ctx: Any, addend: Tensor) -> Tensor:  # noqa: ANN401 - torch declares no type
        """Add up."""
        del ctx
        total = addend.clone()
        processes.add_up([total])
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch declares no type
        """Add up, too."""
        del ctx
        total = gradients[0].clone()
        processes.add_up([total])
        return total


def _total(addend: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(addend)  # type: ignore[no-untyped-call]
    return found
