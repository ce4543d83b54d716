"""MobileNets for small images: V1 (arXiv 1704.04861, table 1) and V2 (arXiv 1801.04381, table 2)."""

from torch import nn

from ravn.adapters.inverted_residuals import STEM, AveragedFeatures, InvertedResidualNetwork, convolution

SEPARABLE = ((64, 1), (128, 1), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels and stride of V1's depthwise separable convolutions; for large images the first 128 have a stride of 2."""
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 1),
    (3, 6, 32, 3, 2),
    (3, 6, 64, 4, 2),
    (3, 6, 96, 3, 1),
    (3, 6, 160, 3, 2),
    (3, 6, 320, 1, 1),
)
"""Kernel, expansion, channels, blocks and stride of V2's; stem and second stage have a stride of 2 for large images."""


class CifarMobileNetV1(AveragedFeatures):
    """MobileNet with a stem for small images.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        layers, channels = convolution(3, STEM, 3, nn.ReLU), STEM
        for outputs, stride in SEPARABLE:
            layers += convolution(channels, channels, 3, nn.ReLU, stride=stride, groups=channels)
            layers += convolution(channels, outputs, 1, nn.ReLU)
            channels = outputs
        super().__init__(layers, channels, classes)


class CifarMobileNetV2(InvertedResidualNetwork):
    """MobileNetV2 with a stem for small images.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, STAGES, nn.ReLU6)
