"""ResNet-200 of pre-activated bottlenecks (arXiv 1603.05027) for small images: a 3x3 stem of stride 1."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ravn.adapters.cifar_bottleneck import EXPANSION, STRIDES, WIDTHS

BLOCKS = (3, 24, 36, 3)
"""Blocks of the four stages."""


class PreactivatedBottleneck(nn.Module):
    """Batch norm and ReLU before each of three convolutions, and nothing after the sum.

    Args:
        inputs: channels that come in.
        width: channels of the 3x3 convolution; four times as many go out.
        stride: of the 3x3 convolution.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, 4 * width, height / stride, width / stride)."""
        active = functional.relu(self.bn1(x))
        out = functional.relu(self.bn2(self.conv1(active)))
        out = self.conv3(functional.relu(self.bn3(self.conv2(out))))
        kept: Tensor = x if self.shortcut is None else self.shortcut(active)
        return out + kept


class CifarResNet200(nn.Module):
    """A convolution, four stages of pre-activated bottlenecks, batch norm, global average, a linear classifier.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        channels, stages = WIDTHS[0], []
        for blocks, width, stride in zip(BLOCKS, WIDTHS, STRIDES, strict=True):
            first = PreactivatedBottleneck(channels, width, stride)
            channels = EXPANSION * width
            rest = [PreactivatedBottleneck(channels, width, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        logits: Tensor = self.linear(torch.mean(functional.relu(self.bn(out)), dim=(2, 3)))
        return logits
