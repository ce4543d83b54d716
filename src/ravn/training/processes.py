"""Several processes, one training: each computes its share of every batch, and gradients are added up.

`torchrun` or `accelerate launch` starts the processes, on one machine or many, and tells them of one another by
environment variables. All draw the same batches, augmentations and blends from the seed; what only the first one
reads or writes is handed on by it.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

from ravn.errors import InputError

T = TypeVar("T")


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes that a launcher has started, if there are any.

    Args:
        device: where the network runs; decides how processes talk.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or count() > 1:
        yield
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that reads and writes files."""
    return count() == 1 or distributed.get_rank() == 0


def from_first(value: T) -> T:
    """The first process's value, in all of them."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def share(batch: Tensor) -> Tensor:
    """This process's share of a batch: of n processes, every n-th of its images."""
    return batch if count() == 1 else batch[distributed.get_rank() :: count()]


def smallest_share(images: int) -> int:
    """Images of a batch of so many that the process with the fewest computes."""
    return images // count()


def ensure_shareable(batch_size: int, images: int) -> None:
    """Refuse batches that don't give every process an image.

    Args:
        batch_size: images of a step.
        images: images of an epoch; what remains for the last step counts if it is at least half a batch.

    Raises:
        InputError: the smallest batch is smaller than the number of processes.
    """
    rest = images % batch_size
    smallest = rest if 2 * rest >= batch_size or images < batch_size else batch_size
    if images and smallest < count():
        raise InputError(
            f"a batch of {smallest} images can't be shared among {count()} processes;"
            f" give a batch size of {2 * count()} or more, or fewer processes"
        )


def ensure_compilable(*, compiled: bool, batch_statistics: bool) -> None:
    """Refuse compiled networks whose batch norms would have to wait for other processes.

    Raises:
        InputError: they would.
    """
    if compiled and batch_statistics and count() > 1:
        raise InputError(
            f"compiled batch norms can't share their statistics among {count()} processes; leave --compile out"
        )


def first_told(value: T | None) -> T | None:
    """The first value, in the order of the processes, that is not None; every process has to ask."""
    if count() == 1:
        return value
    told: list[T | None] = [None] * count()
    distributed.all_gather_object(told, value)
    return next((found for found in told if found is not None), None)


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in place."""
    if count() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)
