"""Inputs as no epoch has shown them before: warped, blended with one another, patched with one another.

A teacher answers for whatever it is shown, so inputs need be no pictures of anything; and a network of one bit per
weight learns by heart what it sees twice (docs/experiments.md).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

TURN, ZOOM, STRETCH, SHEAR = math.radians(15), 0.2, 0.1, 0.1
"""Most that pictures are warped: angle, logarithms of size and of aspect's root, slope."""


def varied(inputs: Tensor, generator: Generator, *, mixing: float, warping: float) -> Tensor:
    """Network inputs that differ from those of every other epoch.

    Args:
        inputs: shape (batch, ...); such as are not numbers on a scale stay as they are, and only pictures, of shape
            (batch, channels, height, width), are warped and patched.
        generator: source of the draws.
        mixing: share that is blended with others, half of it (pictures) by patches.
        warping: share that is warped.
    """
    if not inputs.is_floating_point():
        return inputs
    if inputs.dim() != 4:
        return mixed(inputs, mixing, generator)
    inputs = warped(inputs, warping, generator)
    by_patches = _chosen(inputs, 0.5, generator)
    return torch.where(by_patches, patched(inputs, mixing, generator), mixed(inputs, mixing, generator))


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
    return torch.lerp(_others(inputs, generator), inputs, weight)


def patched(pictures: Tensor, share: float, generator: Generator) -> Tensor:
    """Replace a rectangle in a share of the pictures by that of others in the batch (CutMix, arXiv 1905.04899).

    Args:
        pictures: shape (batch, channels, height, width).
        share: of the pictures that get one, in 0..1.
        generator: source of the draws.

    Returns:
        Pictures of the same shape; each has about half of its own at least.
    """
    down, across, size = torch.rand((3, len(pictures), 1), generator=generator)
    side, inside = (size / 2).sqrt(), []
    for corner, length in zip((down, across), pictures.shape[2:], strict=True):
        centres = (torch.arange(length) + 0.5) / length - corner * (1 - side)
        inside.append((centres >= 0) & (centres < side))
    patch = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(pictures.device)
    return torch.where(patch & _chosen(pictures, share, generator), _others(pictures, generator), pictures)


def warped(pictures: Tensor, share: float, generator: Generator) -> Tensor:
    """Turn, zoom, stretch and shear a share of the pictures about their centres; borders are mirrored inwards.

    Args:
        pictures: shape (batch, channels, height, width).
        share: of the pictures that are warped, in 0..1.
        generator: source of the draws.
    """
    angle, zoom, stretch, shear = torch.rand((4, len(pictures)), generator=generator) * 2 - 1
    angle, zoom, stretch = angle * TURN, (zoom * ZOOM).exp(), (stretch * STRETCH).exp()
    rows = [angle.cos() * stretch, shear * SHEAR - angle.sin(), angle.sin(), angle.cos() / stretch]
    maps = functional.pad((torch.stack(rows, 1) * zoom[:, None]).view(-1, 2, 2), (0, 1)).to(pictures)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    found = functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return torch.where(_chosen(pictures, share, generator), found, pictures)


def _chosen(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Which inputs a change is for, shape (batch, 1, ...)."""
    return torch.rand((len(inputs), *[1] * (inputs.dim() - 1)), generator=generator).to(inputs.device) < share


def _others(inputs: Tensor, generator: Generator) -> Tensor:
    """Another input of the batch for each."""
    return inputs[torch.randperm(len(inputs), generator=generator).to(inputs.device)]
