"""EfficientNet-B0 (arXiv 1905.11946, table 1) for small images: the stem's stride and the second stage's are one."""

import torch
from torch import Tensor, nn

STEM, HEAD = 32, 1280
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 1),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
"""Kernel, expansion, channels, blocks and stride."""
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


class MBConv(nn.Module):
    """An inverted residual with squeeze and excitation.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        size: side of the filters.
        stride: of the filters.
        expansion: factor of the channels in between.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * inputs
        expand = [] if expansion == 1 else convolution(inputs, inner, 1)
        filters = convolution(inner, inner, size, stride=stride, groups=inner)
        squeeze = SqueezeExcitation(inner, inputs // SQUEEZE)
        project = [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*expand, *filters, squeeze, *project)
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, outputs, height / stride, width / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.keeps_shape else out


class CifarEfficientNetB0(nn.Module):
    """A convolution, seven stages of MBConv blocks, a 1x1 convolution, global average, a linear classifier.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = convolution(3, STEM, 3)
        channels = STEM
        for size, expansion, outputs, count, stride in STAGES:
            for number in range(count):
                blocks.append(MBConv(channels, outputs, size, stride if number == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*blocks, *convolution(channels, HEAD, 1))
        self.classifier = nn.Linear(HEAD, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with its batch norm and SiLU."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)]
