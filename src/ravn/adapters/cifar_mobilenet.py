"""MobileNetV2 (arXiv 1801.04381, table 2) for small images: the first three strides of two are one."""

from torch import nn

from ravn.adapters.inverted_residuals import InvertedResidualNetwork

STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 1),
    (3, 6, 32, 3, 2),
    (3, 6, 64, 4, 2),
    (3, 6, 96, 3, 1),
    (3, 6, 160, 3, 2),
    (3, 6, 320, 1, 1),
)
"""Kernel, expansion, channels, blocks and stride; the stem's stride and the second stage's are 2 for large images."""


class CifarMobileNetV2(InvertedResidualNetwork):
    """MobileNetV2 with a stem for small images.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, STAGES, nn.ReLU6)
