"""What is not a code: batch norms as two vectors instead of four, and parameters no finer than the weights ask for."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NORM_IMAGES = 2048
"""Training images on which batch norms are re-estimated."""


def canonical(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, with the statistics of every batch norm moved into its weight and bias.

    gamma (x - mean) / sqrt(var + eps) + beta is the same with mean 0, var 1 - eps, weight
    gamma / sqrt(var + eps) and bias beta - mean * weight. Constant statistics cost a file nothing.
    Computed in float64; exact in eval mode to the rounding of the parameters' dtype. Batch norms
    without weights or statistics, or that share them, stay as they are.

    Returns:
        The whole state dict, in its order; all other tensors are the model's own, not copies.
    """
    state: dict[str, Tensor] = model.state_dict()
    owners = Counter(id(tensor) for module in model.modules() for tensor in _own(module))
    for prefix, module in model.named_modules(remove_duplicate=False):
        if not isinstance(module, _BatchNorm) or not module.affine:
            continue
        mean, variance = module.running_mean, module.running_var
        if mean is None or variance is None:
            continue
        if all(owners[id(tensor)] == 1 for tensor in _own(module)):
            replaced = _moved(module, mean, variance)
            state |= {f"{prefix}.{name}" if prefix else name: tensor for name, tensor in replaced.items()}
    return state


def shortened(tensor: Tensor, mantissa_bits: int) -> Tensor:
    """Floats rounded to so many bits of mantissa behind the leading one, a relative error of 2^-(bits + 1) at most."""
    mantissa, exponent = torch.frexp(tensor.double())
    whole, most = 2.0 ** (mantissa_bits + 1), torch.finfo(tensor.dtype).max
    # The largest of all would be rounded up to infinity.
    return torch.ldexp((mantissa * whole).round() / whole, exponent).clamp(-most, most).to(tensor.dtype)


def reestimated(model: nn.Module, batches: Sequence[Tensor]) -> nn.Module:
    """A copy of the network whose batch norms have the statistics of these batches, all weighted alike.

    Weights that changed, if only by their rounding, have shifted the statistics that training left behind.

    Args:
        model: the quantized network.
        batches: network inputs.

    Returns:
        The copy, in eval mode. Batch norms without running statistics stay as they are, and so do all without batches.
    """
    network = copy.deepcopy(model).eval()
    norms = [m for m in network.modules() if batches and isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def _own(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def _moved(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
    weight, bias = norm.weight.detach(), norm.bias.detach()
    slope = weight.double() / torch.sqrt(variance.double() + norm.eps)
    return {
        "weight": slope.to(weight.dtype),
        "bias": (bias.double() - mean.double() * slope).to(bias.dtype),
        "running_mean": torch.zeros_like(mean),
        "running_var": torch.full_like(variance, 1 - norm.eps),
    }
