"""MobileNetV2 for large images as TensorFlow Lite has it: batch norms folded, padding "SAME", 1,001 outputs."""

from torch import Tensor, nn
from torch.nn import functional

from ravn.adapters.cifar_mobilenet import STAGES
from ravn.adapters.inverted_residuals import HEAD, STEM

STRIDES = (1, 2, 2, 2, 1, 2, 1)
OUTPUTS, BACKGROUND = 1001, 1
"""All outputs, and those before the classes."""
PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 224}


class FoldedMobileNetV2(nn.Module):
    """MobileNetV2 1.0 (arXiv 1801.04381) without batch norms; layers have the names of the original graph.

    Args:
        classes: of its 1,000 classes, the first so many are given.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.Conv = nn.Conv2d(3, STEM, 3, 2)
        self._blocks: list[tuple[str, int, bool]] = []
        channels = STEM
        for (_, expansion, outputs, count, _), first in zip(STAGES, STRIDES, strict=True):
            for number in range(count):
                name = f"expanded_conv_{len(self._blocks)}" if self._blocks else "expanded_conv"
                stride, inner = first if number == 0 else 1, expansion * channels
                if expansion > 1:
                    self.add_module(f"{name}_expand", nn.Conv2d(channels, inner, 1))
                self.add_module(f"{name}_depthwise", nn.Conv2d(inner, inner, 3, stride, groups=inner))
                self.add_module(f"{name}_project", nn.Conv2d(inner, outputs, 1))
                self._blocks.append((name, stride, stride == 1 and channels == outputs))
                channels = outputs
        self.Conv_1 = nn.Conv2d(channels, HEAD, 1)
        self.Logits_Conv2d_1c_1x1 = nn.Conv2d(HEAD, OUTPUTS, 1)
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes)."""
        x = functional.relu6(self.Conv(_same(x, 2)))
        for number, (name, stride, keeps_shape) in enumerate(self._blocks):
            inner = x if number == 0 else functional.relu6(self.get_submodule(f"{name}_expand")(x))
            inner = functional.relu6(self.get_submodule(f"{name}_depthwise")(_same(inner, stride)))
            inner = self.get_submodule(f"{name}_project")(inner)
            x = x + inner if keeps_shape else inner
        x = functional.relu6(self.Conv_1(x)).mean((2, 3), keepdim=True)
        logits: Tensor = self.Logits_Conv2d_1c_1x1(x).flatten(1)
        return logits[:, BACKGROUND : BACKGROUND + self.classes]


def _same(x: Tensor, stride: int) -> Tensor:
    """Pad for a 3x3 kernel; for a stride of two and an even size only to the right and below."""
    return functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
