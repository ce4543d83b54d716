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


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in place."""
    if count() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)
