"""Deep residual networks of bottleneck blocks (arXiv 1512.03385, table 1) for small images: a 3x3 stem of stride 1."""

from torch import Tensor, nn
from torch.nn import functional

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of the four stages."""
WIDTHS, STRIDES, EXPANSION = (64, 128, 256, 512), (1, 2, 2, 2), 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; a projection for a shortcut where the shape changes (option B).

    Args:
        inputs: channels that come in.
        width: channels of the 3x3 convolution; four times as many go out.
        stride: of the 3x3 convolution.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (batch, 4 * width, height / stride, width / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class CifarBottleneckNet(nn.Module):
    """A convolution, four stages of bottlenecks, global average, a linear classifier.

    Args:
        depth: 50, 101 or 152.
        classes: outputs.
    """

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        channels, stages = WIDTHS[0], []
        for blocks, width, stride in zip(DEPTHS[depth], WIDTHS, STRIDES, strict=True):
            first = Bottleneck(channels, width, stride)
            channels = EXPANSION * width
            stages.append(nn.Sequential(first, *(Bottleneck(channels, width, 1) for _ in range(blocks - 1))))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)  # every block begins as its shortcut (arXiv 1706.02677)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.linear(out.mean((2, 3)))
        return logits
