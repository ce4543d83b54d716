"""Any `nn.Module` as named weights, and any weight as the product that it takes part in."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ravn.plan import Layer

POSITIONS = 64
"""Positions of an image that stand for all of them in a second moment."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
"""Modules whose inputs can be unfolded into the columns of their weight matrix; `nn.Linear` needs no unfolding."""


def weight_layers(model: nn.Module) -> list[Layer]:
    """All parameters of two or more dimensions, in the order of the network; tied weights once.

    Returns:
        Layers named by the parameter's first name.
    """
    found, seen = [], set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() >= 2 and parameter.numel() and id(parameter) not in seen:
                seen.add(id(parameter))
                full = f"{prefix}.{name}" if prefix else name
                found.append(Layer(full, type(module).__name__, tuple(parameter.shape)))
    return found


def owner(model: nn.Module, weight_name: str) -> nn.Module:
    """The module that holds a parameter."""
    return model.get_submodule(weight_name.rpartition(".")[0])


def unfolded_inputs(module: nn.Module, inputs: Tensor, positions: int = POSITIONS) -> Tensor | None:
    """Inputs as the vectors that the rows of the weight matrix are multiplied with.

    Args:
        module: linear, or 1-d or 2-d convolution, grouped and depthwise too.
        inputs: what the module was called with.
        positions: at most so many positions of every image are taken, the same ones at every call:
            neighbours are nearly alike, and a second moment needs variety.

    Returns:
        Shape (groups, vectors, columns), or None for a module that is not such a product.
    """
    if isinstance(module, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    if not isinstance(module, CONVOLUTIONS) or isinstance(module.padding, str):
        return None
    if module.padding_mode != "zeros":
        return None
    inputs = inputs if inputs.dim() == 4 else inputs.unsqueeze(-2)
    batch, channels, height, width = inputs.shape
    taps, inside = _taps(module, height, width, positions)
    patches = inputs.flatten(2).index_select(2, taps.flatten().to(inputs.device))
    if not inside.all():
        patches.masked_fill_(~inside.flatten().to(inputs.device), 0.0)
    grouped = patches.reshape(batch, module.groups, channels // module.groups, *taps.shape)
    return grouped.permute(1, 0, 3, 2, 4).reshape(module.groups, batch * len(taps), -1)


def _taps(module: nn.Conv1d | nn.Conv2d, height: int, width: int, positions: int) -> tuple[Tensor, Tensor]:
    """Where in a flattened image the kernel looks, and whether that is inside it; both of shape (positions, taps)."""
    one = (1,) * (2 - len(module.kernel_size))
    kernel, stride, dilation = (one + tuple(v) for v in (module.kernel_size, module.stride, module.dilation))
    down, across = (0,) * len(one) + tuple(int(p) for p in module.padding)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    rows, columns = (height + 2 * down - reach[0]) // stride[0] + 1, (width + 2 * across - reach[1]) // stride[1] + 1
    taken = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0))[:positions]
    y = (taken // columns * stride[0] - down)[:, None] + dilation[0] * torch.arange(kernel[0])
    x = (taken % columns * stride[1] - across)[:, None] + dilation[1] * torch.arange(kernel[1])
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    taps = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
    return taps.flatten(1), inside.flatten(1)


def set_weights(model: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copy weights into the parameters of these names, in place."""
    with torch.no_grad():
        for name, weight in weights:
            model.get_parameter(name).copy_(weight)


def tied_parameters(model: nn.Module) -> dict[str, str]:
    """Names of parameters that share another's tensor, with the first name of that tensor."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            tied[name] = first[id(parameter)]
    return tied
