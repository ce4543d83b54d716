"""Does an exported file say what the network says?"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ravn.batches import in_order, network_inputs, size
from ravn.errors import InputError
from ravn.exporters.programs import outputs_of
from ravn.exporters.sessions import Run

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest magnitude of all."""
BATCHES = (1, 3)
BATCH = 128
ROUNDING = 0.1
"""Points of accuracy: rounding decides between classes that are equally likely."""
INT8 = 0.5
"""Points of accuracy that 8-bit activations may cost."""


def largest_difference(model: nn.Module, run: Run, example: Tensor) -> float:
    """Largest relative difference between the outputs of a network and of its exported form.

    Args:
        model: the network, in eval mode.
        run: its exported form.
        example: an input; batches of random inputs of its shape and dtype are tried, of more than one size.

    Raises:
        InputError: it is beyond `TOLERANCE`.
    """
    worst = 0.0
    for number, batch in enumerate(BATCHES):
        inputs = random_like(example, batch, seed=number)
        found, wanted = run(inputs), outputs_of(model, inputs)
        if [f.shape for f in found] != [w.shape for w in wanted]:
            raise InputError(f"the exported network gives outputs of other shapes for a batch of {batch}: nothing kept")
        for ours, theirs in zip(found, wanted, strict=True):
            scale = float(theirs.abs().max().clamp_min(1e-12))
            difference = float((ours.double() - theirs.double()).abs().max()) / scale
            if not difference <= TOLERANCE:  # NaN is beyond any tolerance
                raise InputError(
                    f"the exported network's outputs differ by {difference:.1e}, more than {TOLERANCE}: nothing kept"
                )
            worst = max(worst, difference)
    return worst


def accuracies(
    model: nn.Module,
    run: Run,
    dataset: Dataset[Any],
    transform: Callable[[Tensor], Tensor],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple[float, float]:
    """Top-1 accuracy in percent of a network and of its exported form on the same images.

    Args:
        model: the network, in eval mode.
        run: its exported form.
        dataset: map-style data set of (stored input, label).
        transform: stored batch -> network inputs.
        progress: wraps the loop over batches.
    """
    right = [0, 0]
    for stored, labels in progress(in_order(dataset, BATCH)):
        inputs = network_inputs(stored, transform, "cpu")
        for at, logits in enumerate((outputs_of(model, inputs)[0], run(inputs)[0])):
            right[at] += int((logits.argmax(1) == labels).sum())
    return 100 * right[0] / size(dataset), 100 * right[1] / size(dataset)


def ensure_as_accurate(before: float, after: float, allowed: float) -> None:
    """Refuse an exported network that predicts worse.

    Args:
        before: accuracy of the network in percent.
        after: accuracy of its exported form.
        allowed: points that it may lose.

    Raises:
        InputError: it loses more.
    """
    if not before - after <= allowed:
        raise InputError(
            f"the exported network is right on {after:.2f} % of images, not {before:.2f} %,"
            f" and {allowed} points are allowed: nothing kept"
        )


def random_like(example: Tensor, batch: int, seed: int) -> Tensor:
    """Random inputs of an example's shape and dtype: normal, or 0 and 1 for integers."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator, dtype=example.dtype)
    return torch.randint(2, shape, generator=generator, dtype=example.dtype)
