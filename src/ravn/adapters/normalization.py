"""From stored images to network inputs, and back to the words of the command line."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ravn.errors import InputError

KNOWN = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
"""Mean and standard deviation of the channels of well-known data sets, pixels in 0..1."""


@dataclass(frozen=True)
class Normalization:
    """`(pixel / 255 - mean) / std` for every channel.

    Args:
        mean: one number per channel, pixels in 0..1.
        std: likewise, and positive.

    Raises:
        InputError: they are not as many, or not such numbers.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        whole = 0 < len(self.mean) == len(self.std) and all(map(math.isfinite, self.mean + self.std))
        if not whole or min(self.std) <= 0:
            raise InputError(f"a mean of {self.mean} and a standard deviation of {self.std} normalise no images")

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 images, shape (batch, channels, height, width), into float32 network inputs."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (images.float() / 255 - mean) / std


def parse_normalization(text: str) -> Normalization:
    """Read `--normalize`: a known name, or MEANS/STDS such as "0.5,0.5,0.5/0.2,0.2,0.2".

    Raises:
        InputError: it is neither.
    """
    if text in KNOWN:
        return Normalization(*KNOWN[text])
    try:
        mean, std = (tuple(float(n) for n in part.split(",")) for part in text.split("/"))
        return Normalization(mean, std)
    except ValueError as error:
        raise InputError(
            f"--normalize {text!r} is not understood; give {', '.join(KNOWN)} or MEANS/STDS"
            " such as 0.5,0.5,0.5/0.2,0.2,0.2"
        ) from error


def normalization_of(preprocessing: Mapping[str, Any]) -> Normalization | None:
    """The normalization that a network or a file brings with it, if it does.

    Raises:
        InputError: it is broken.
    """
    if "mean" not in preprocessing or "std" not in preprocessing:
        return None
    try:
        return Normalization(*(tuple(map(float, list(preprocessing[key]))) for key in ("mean", "std")))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the preprocessing {dict(preprocessing)} has no numbers for mean and std") from error
