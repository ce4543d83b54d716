"""The one door to scikit-learn: 1,797 handwritten digits of 8 x 8 pixels that need no download."""

import torch
from torch import Tensor

from ravn.errors import MissingPackageError

LEVELS = 15
"""Factor from the set's 17 grey levels to 0..240."""


def read_digits() -> tuple[Tensor, Tensor]:
    """All digits: uint8 images of shape (1797, 1, 8, 8), and labels.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("sklearn", "digits") from error
    digits = load_digits()
    images = torch.from_numpy(digits.images * LEVELS).to(torch.uint8)[:, None]
    return images, torch.from_numpy(digits.target).long()
