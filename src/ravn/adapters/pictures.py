"""The one door to Pillow: encoded pictures as a data set of uint8 tensors."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from ravn.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from PIL import Image

MARGIN = 0.875
"""Side of the centre crop relative to the shorter side of the picture that it is cut from."""
SMALL = 96
"""Pictures up to this side are decoded once and kept; larger ones are decoded whenever they are asked for."""


@dataclass(frozen=True)
class Examples:
    """Labelled pictures as they were found.

    Args:
        encoded: PNG, JPEG, ...: bytes, or a file each.
        labels: number of the class of each.
    """

    encoded: Sequence[bytes | Path]
    labels: Sequence[int]

    def subset(self, rows: Sequence[int]) -> "Examples":
        """The examples of these rows."""
        return Examples([self.encoded[i] for i in rows], [self.labels[i] for i in rows])


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures decoded to uint8, shape (3, size, size), when they are asked for.

    Args:
        examples: encoded pictures and labels.
        size: side in pixels.
    """

    def __init__(self, examples: Examples, size: int) -> None:
        self._examples, self._size = examples, size

    def __len__(self) -> int:
        return len(self._examples.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return decode(self._examples.encoded[index], self._size), self._examples.labels[index]


def decoded_dataset(examples: Examples, size: int) -> Dataset[Any]:
    """Examples as a map-style data set: decoded at once where the pictures are small."""
    if size > SMALL or not len(examples.labels):
        return Pictures(examples, size)
    images = torch.stack([decode(picture, size) for picture in examples.encoded])
    return TensorDataset(images, torch.tensor(examples.labels))


def decode(picture: bytes | Path, size: int) -> Tensor:
    """Decode a picture to uint8 RGB, shape (3, size, size).

    A picture whose shorter side is between `size` and `size / 0.875` is cut at the centre as it is; others are scaled
    so that their shorter side becomes `size / 0.875` first, or `size` for pictures up to 96 pixels.

    Raises:
        InputError: it is not a picture.
        MissingPackageError: Pillow is not installed.
    """
    import numpy as np
    from PIL import Image

    with _opened(picture) as opened:
        image = opened.convert("RGB")
    shorter = min(image.size)
    if not size <= shorter <= round(size / MARGIN):
        wanted = size if size <= SMALL else round(size / MARGIN)
        width, height = (round(side * wanted / shorter) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.array(image.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def shorter_side(picture: bytes | Path) -> int:
    """Shorter side in pixels of a picture.

    Raises:
        InputError: it is not a picture.
    """
    with _opened(picture) as image:
        return min(image.size)


@contextmanager
def _opened(picture: bytes | Path) -> Iterator["Image.Image"]:
    """A picture while Pillow has it open; whatever Pillow says against it becomes one sentence."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("PIL", "images") from error
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            yield image
    except Exception as error:  # decoders raise whatever they like
        name = "one of the pictures" if isinstance(picture, bytes) else str(picture)
        raise InputError(f"{name} can't be read as a picture") from error
