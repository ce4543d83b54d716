"""Labelled pictures by split, wherever they come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ravn.adapters.pictures import Examples
from ravn.errors import InputError

TRAIN, TEST = ("train", "training"), ("test", "validation", "val", "valid")
"""Customary names of splits, best first."""
VALIDATION_SHARE, MOST_VALIDATION = 0.1, 2000
TEST_SHARE = 0.4


@dataclass(frozen=True)
class Collection:
    """Labelled pictures of three disjoint splits.

    Args:
        train: pictures for calibration, search and training.
        validation: pictures for choices, cut from the training pictures.
        test: pictures that only the final report touches.
        classes: names of the classes.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]


def collect(splits: Mapping[str, Examples], classes: Sequence[str], source: str) -> Collection:
    """Sort splits into train, validation and test, always in the same way.

    Validation pictures are cut from the training split. A source with one split alone is cut into all three: 40 % of
    its pictures are for the test.

    Args:
        splits: pictures by the name of their split.
        classes: names of the classes.
        source: how the user called the data.

    Raises:
        InputError: there are no pictures, or labels that are no classes.
    """
    train = next((splits[name] for name in TRAIN if name in splits), Examples((), ()))
    test = next((splits[name] for name in TEST if name in splits), Examples((), ()))
    for examples in (train, test):
        if len(examples.labels) and not 0 <= min(examples.labels) <= max(examples.labels) < len(classes):
            raise InputError(
                f"--data {source} is unlabelled: it has labels that are none of its {len(classes)} classes"
            )
    if not len(train.labels) or not len(test.labels):
        test, train = _cut(train if len(train.labels) else test, lambda count: round(TEST_SHARE * count))
    validation, train = _cut(train, lambda count: min(round(VALIDATION_SHARE * count), MOST_VALIDATION))
    if not (len(train.labels) and len(validation.labels) and len(test.labels)):
        raise InputError(f"--data {source} holds too few pictures; give at least ten, in folders or files of a split")
    return Collection(train, validation, test, tuple(classes))


def _cut(examples: Examples, share: Callable[[int], int]) -> tuple[Examples, Examples]:
    """The first `share` of the examples in an order that never changes, and the rest."""
    order = torch.randperm(len(examples.labels), generator=torch.Generator().manual_seed(0)).tolist()
    taken = share(len(order))
    return examples.subset(order[:taken]), examples.subset(sorted(order[taken:]))
