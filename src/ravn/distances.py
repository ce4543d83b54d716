"""Distances of two networks' features, by name: what L_fidelity (Eq. 5, 6) sums up over layers.

Features have shape (images, ...); every distance is 0 for equal features and has no unit.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Distance = Callable[[Tensor, Tensor], Tensor]

LEAST = 1e-12
"""Denominators are at least so large: features may vanish."""

BRIGHTNESS, CONTRAST = 0.01, 0.03
"""What steadies SSIM where a map is flat, as shares of the reference's range."""


def l2(reference: Tensor, other: Tensor) -> Tensor:
    """`||F - F_q||^2 / ||F||^2`: normalised, or the loudest layer would drown the others."""
    return (reference - other).square().sum() / reference.square().sum().clamp_min(LEAST)


def l1(reference: Tensor, other: Tensor) -> Tensor:
    """`||F - F_q||_1 / ||F||_1`."""
    return (reference - other).abs().sum() / reference.abs().sum().clamp_min(LEAST)


def cosine(reference: Tensor, other: Tensor) -> Tensor:
    """One minus the mean cosine similarity of the images' features; where both are zero, they are alike."""
    ours, theirs = reference.flatten(1), other.flatten(1)
    silent = ~(ours.any(1) | theirs.any(1))
    return 1 - (functional.cosine_similarity(ours, theirs, dim=1) + silent).mean()


def ssim(reference: Tensor, other: Tensor) -> Tensor:
    """One minus the mean structural similarity (10.1109/TIP.2003.819861) of feature maps, each one window.

    Maps are those of every image and channel; features without positions are one map per image.
    """
    ours, theirs = ((f.flatten(2) if f.dim() > 2 else f.flatten(1)[:, None]) for f in (reference, other))
    reach = reference.max() - reference.min()
    steady = ((share * reach).square() + LEAST for share in (BRIGHTNESS, CONTRAST))
    means = ours.mean(2), theirs.mean(2)
    spreads = ours.var(2, correction=0), theirs.var(2, correction=0)
    common = (ours * theirs).mean(2) - means[0] * means[1]
    pairs = ((means[0] * means[1], means[0].square() + means[1].square()), (common, spreads[0] + spreads[1]))
    luminance, structure = ((2 * both + c) / (each + c) for (both, each), c in zip(pairs, steady, strict=True))
    return 1 - (luminance * structure).mean()


def cka(reference: Tensor, other: Tensor) -> Tensor:
    """One minus linear centred kernel alignment (arXiv 1905.00414): do the same images lie near one another?

    It looks at a whole batch, and does not see a rotation or a scaling of all features.
    """
    ours, theirs = (_similarities(features) for features in (reference, other))
    silent = ~(ours.any() | theirs.any())
    return 1 - ((ours * theirs).sum() + silent)


def _similarities(features: Tensor) -> Tensor:
    """Inner products of the images' centred features, of norm 1, or 0 of features that are all alike."""
    # Scaled before they are multiplied: the squares of small features would be lost among what denominators add.
    centred = _scaled(features.flatten(1) - features.flatten(1).mean(0))
    return _scaled(centred @ centred.mT)


def _scaled(matrix: Tensor) -> Tensor:
    return matrix / torch.linalg.norm(matrix).clamp_min(LEAST)


DISTANCES: dict[str, Distance] = {"l2": l2, "l1": l1, "cosine": cosine, "ssim": ssim, "cka": cka}
