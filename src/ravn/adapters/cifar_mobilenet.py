"""MobileNetV2 (arXiv 1801.04381, table 2) for small images: the first three strides of two are one."""

from torch import Tensor, nn

STEM, HEAD = 32, 1280
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride; the stem's stride and the second stage's are 2 for large images."""


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a shortcut where the shape stays.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the filters.
        expansion: factor of the channels in between.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * inputs
        expand = [] if expansion == 1 else convolution(inputs, inner, 1)
        filters = convolution(inner, inner, 3, stride=stride, groups=inner)
        project = [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*expand, *filters, *project)
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, outputs, height / stride, width / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.keeps_shape else out


class CifarMobileNetV2(nn.Module):
    """A convolution, seven stages of inverted residuals, a 1x1 convolution, global average, a linear classifier.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = convolution(3, STEM, 3)
        channels = STEM
        for expansion, outputs, count, stride in STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(channels, outputs, stride if number == 0 else 1, expansion))
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
    """A convolution with its batch norm and ReLU6."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]
