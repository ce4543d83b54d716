"""EfficientNet-B0 (arXiv 1905.11946, table 1) for small images: the stem's stride and the second stage's are one."""

from torch import nn

from ravn.adapters.inverted_residuals import InvertedResidualNetwork

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


class CifarEfficientNetB0(InvertedResidualNetwork):
    """EfficientNet-B0 with a stem for small images.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, STAGES, nn.SiLU)
