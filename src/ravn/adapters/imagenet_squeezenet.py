"""SqueezeNet 1.1 (arXiv 1602.07360 and its authors' second version), with the key names of torchvision."""

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTPUTS = 1000
FIRES: tuple[tuple[int, int, int] | None, ...] = (
    (64, 16, 64),
    (128, 16, 64),
    None,
    (128, 32, 128),
    (256, 32, 128),
    None,
    (256, 48, 192),
    (384, 48, 192),
    (384, 64, 256),
    (512, 64, 256),
)
"""Channels that come in, squeezed, and of each of the two expansions; None is a pooling."""


class Fire(nn.Module):
    """Squeeze by 1x1, expand by 1x1 and 3x3 side by side.

    Args:
        inputs: channels that come in.
        squeezed: channels in between.
        expanded: half of the channels that go out.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, 2 * expanded, height, width)."""
        x = functional.relu(self.squeeze(x))
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """Fires and poolings, a 1x1 convolution as classifier, global average.

    Args:
        classes: of its 1,000 outputs, the first so many are given.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), _pooling()]
        self.features = nn.Sequential(*stem, *(_pooling() if fire is None else Fire(*fire) for fire in FIRES))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, OUTPUTS, 1), nn.ReLU(inplace=True))
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x)).mean((2, 3))
        return logits[:, : self.classes]


def _pooling() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
