"""Images of a data set as batches of network inputs, in an order that a seed decides."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate

from ravn.task import Task

MOST_NUMBERS = 3 << 19
"""Numbers of a batch, 512 images of CIFAR's or 10 of ImageNet's: a CPU takes twice as long for each image where layers
are so large that their memory goes back to the system every time."""


def fetch(dataset: Dataset[Any], indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Items of a map-style data set as one batch: stored inputs and labels."""
    if isinstance(dataset, TensorDataset):
        rows = torch.as_tensor(indices)
        return dataset.tensors[0][rows], dataset.tensors[1][rows]
    inputs, labels = default_collate([dataset[i] for i in indices])
    return inputs, torch.as_tensor(labels)


def network_inputs(stored: Tensor, transform: Callable[[Tensor], Tensor], device: torch.device | str) -> Tensor:
    """A stored batch as network inputs on a device; images lie channels last, which convolutions are faster on."""
    inputs = transform(stored).to(device)
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


def size(dataset: Dataset[Any]) -> int:
    """Number of items of a map-style data set."""
    return len(dataset)  # type: ignore[arg-type]


def drawn(dataset: Dataset[Any], count: int, seed: int) -> Dataset[Any]:
    """So many items drawn from a map-style data set, or the set itself where it has no more."""
    if count >= size(dataset):
        return dataset
    rows = torch.randperm(size(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(tensor[rows] for tensor in dataset.tensors))
    return Subset(dataset, rows.tolist())


def taught(task: Task) -> Dataset[Any]:
    """The images that training learns outputs on: the training images, and the unlabeled ones where there are any."""
    if task.unlabeled is None:
        return task.train
    if isinstance(task.train, TensorDataset) and isinstance(task.unlabeled, TensorDataset):
        inputs, labels = task.train.tensors
        more = task.unlabeled.tensors[0]
        none = labels.new_full((len(more), *labels.shape[1:]), -1)
        return TensorDataset(torch.cat([inputs, more]), torch.cat([labels, none]))
    return ConcatDataset([task.train, task.unlabeled])


def in_order(dataset: Dataset[Any], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All items, batch by batch."""
    for start in range(0, size(dataset), batch_size):
        yield fetch(dataset, range(start, min(start + batch_size, size(dataset))))


def shuffled(dataset: Dataset[Any], batch_size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """All items in random order, batch by batch; a last batch of less than half the size is left out."""
    for rows in torch.randperm(size(dataset), generator=generator).split(batch_size):
        if len(rows) and (2 * len(rows) >= batch_size or len(rows) == size(dataset)):
            yield fetch(dataset, rows.tolist())


def calibration_inputs(
    task: Task,
    images: int,
    *,
    seed: int,
    skip: int = 0,
    batch_size: int = 128,
    device: torch.device,
) -> list[Tensor]:
    """Unlabelled network inputs drawn from the training images.

    Args:
        task: its training images, augmentation and transform are used; labels are not.
        images: how many; fewer where there are fewer, and no batch where there are none.
        seed: decides which, and the augmentation.
        skip: leave out so many of the drawn images first, to get a disjoint set under the same
            seed.
        batch_size: images of a batch; fewer where so many large ones are more than `MOST_NUMBERS`.
        device: where the inputs are wanted.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(size(task.train), generator=generator)[skip : skip + images]
    inputs: list[Tensor] = []
    if not len(drawn):
        return inputs
    first, _ = fetch(task.train, drawn[:1].tolist())
    numbers = network_inputs(first, task.transform, "cpu").numel()
    for rows in drawn.split(max(min(batch_size, MOST_NUMBERS // numbers), 1)):
        stored, _ = fetch(task.train, rows.tolist())
        inputs.append(network_inputs(task.augment(stored, generator), task.transform, device))
    return inputs


def first_images(batches: Sequence[Tensor], count: int) -> list[Tensor]:
    """The first so many images of some batches, in the same batches."""
    kept: list[Tensor] = []
    for batch in batches:
        left = count - sum(map(len, kept))
        if left > 0:
            kept.append(batch[:left])
    return kept
