"""Inverted residuals, which MobileNetV2 (arXiv 1801.04381) and EfficientNet (arXiv 1905.11946) are made of."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

STEM, HEAD = 32, 1280
SQUEEZE = 4


class SqueezeExcitation(nn.Module):
    """Weigh every channel by what all of them are on average (arXiv 1709.01507).

    Args:
        channels: channels.
        squeezed: channels in between.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        weight = self.expand(nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(weight)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a shortcut where the shape stays.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        size: side of the filters.
        stride: of the filters.
        expansion: factor of the channels in between.
        activation: ReLU6, or SiLU with squeeze and excitation, as EfficientNet has them.
    """

    def __init__(
        self, inputs: int, outputs: int, *, size: int, stride: int, expansion: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        inner = expansion * inputs
        expand = [] if expansion == 1 else convolution(inputs, inner, 1, activation)
        filters = convolution(inner, inner, size, activation, stride=stride, groups=inner)
        squeeze = [SqueezeExcitation(inner, inputs // SQUEEZE)] if activation is nn.SiLU else []
        project = [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*expand, *filters, *squeeze, *project)
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, outputs, height / stride, width / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.keeps_shape else out


class AveragedFeatures(nn.Module):
    """Layers, global average, a linear classifier.

    Args:
        layers: the layers before the average.
        channels: channels that come out of them.
        classes: outputs.
    """

    def __init__(self, layers: Iterable[nn.Module], channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class InvertedResidualNetwork(AveragedFeatures):
    """A convolution, stages of inverted residuals, a 1x1 convolution, global average, a linear classifier.

    Args:
        classes: outputs.
        stages: kernel, expansion, channels, blocks and stride of each.
        activation: of all layers.
    """

    def __init__(
        self, classes: int, stages: Iterable[tuple[int, int, int, int, int]], activation: type[nn.Module]
    ) -> None:
        blocks: list[nn.Module] = convolution(3, STEM, 3, activation)
        channels = STEM
        for size, expansion, outputs, count, stride in stages:
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(
                    InvertedResidual(
                        channels, outputs, size=size, stride=first, expansion=expansion, activation=activation
                    )
                )
                channels = outputs
        super().__init__([*blocks, *convolution(channels, HEAD, 1, activation)], HEAD, classes)


def convolution(
    inputs: int, outputs: int, size: int, activation: type[nn.Module], *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution with its batch norm and activation."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), activation(inplace=True)]
