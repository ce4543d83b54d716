"""Random changes of training images."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def shift(images: Tensor, generator: Generator, *, reach: int = 1) -> Tensor:
    """Move every image by up to `reach` pixels in both directions; black comes in at the borders.

    Args:
        images: uint8, shape (batch, channels, height, width).
        generator: source of the draws.
        reach: largest move in pixels.
    """
    count, _, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4)
    down, across = torch.randint(0, 2 * reach + 1, (2, count, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None] + down, torch.arange(width) + across
    return padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


def crop_and_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the images, and move all by up to four pixels (arXiv 1512.03385, section 4.2).

    Args:
        images: uint8, shape (batch, channels, height, width).
        generator: source of the draws.
    """
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return shift(torch.where(mirrored, images.flip(3), images), generator, reach=4)
