"""The question: a network, its images, and how they become network inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Generator, Tensor, nn
from torch.utils.data import Dataset


def unchanged(batch: Tensor) -> Tensor:
    """Return the batch as it is."""
    return batch


def unaugmented(batch: Tensor, generator: Generator) -> Tensor:
    """Return the batch as it is, and draw nothing from the generator."""
    del generator
    return batch


@dataclass(frozen=True)
class Task:
    """What is to be compressed, and on which images it is judged.

    Args:
        model: any `nn.Module` that maps a batch of inputs to logits of shape (batch, classes).
        train: map-style data set of (input, label); weights are trained on it, and the calibration
            images of the search are drawn from it (their labels are never looked at without
            training).
        validation: data set of (input, label) for choices between candidates.
        test: data set of (input, label) that only the final report touches; `validation` where
            there is none.
        transform: turns a stored batch, such as uint8 images of shape (batch, channels, height,
            width), into what the network takes; runs on the batch, not on single images.
        augment: random change of a stored training batch, before `transform`.
        model_name: name from which the network can be rebuilt ("cifar:resnet20"), or "" when only
            the user can.
        data_name: name of the data for reports.
        preprocessing: JSON-able description of `transform`; travels in the file.
        classes: names of the classes, for reports.
        teacher: network of the same inputs and classes whose outputs training imitates, such as a larger one; None for
            the float network itself.
        teacher_name: name of the teacher, for reports.
        unlabeled: data set of (input, anything), stored as `train` is, whose inputs training learns the outputs on as
            well, such as pictures of other classes; None for the training images alone.
        unlabeled_name: name of these data, for reports.
    """

    model: nn.Module
    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any] | None = None
    transform: Callable[[Tensor], Tensor] = unchanged
    augment: Callable[[Tensor, Generator], Tensor] = unaugmented
    model_name: str = ""
    data_name: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    teacher: nn.Module | None = None
    teacher_name: str = ""
    unlabeled: Dataset[Any] | None = None
    unlabeled_name: str = ""
