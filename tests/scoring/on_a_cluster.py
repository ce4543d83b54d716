"""A search in a process of its own: prints the plan that workers at an address, or none, find for a small network."""

import sys

import torch
from torch import nn

from ravn.allocators import LocalSearchAllocator
from ravn.layers import weight_layers
from ravn.progress import Silent
from ravn.scoring import Judge, Workbench, prepare
from ravn.settings import Settings
from ravn.stages import search

CAPACITY = 600


def found(workers: str | None) -> str:
    """The allocation, in words."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)).eval()
    layers, batches = weight_layers(network), [torch.randn(16, 1, 8, 8)]
    judge = Judge(network, [layer.name for layer in layers], batches)
    options = prepare(network, layers, batches, clusters=0, capacity_bytes=CAPACITY)
    bench = Workbench(network, layers, options, judge, judge)
    settings = Settings(evaluations=16, workers=workers)
    allocator = LocalSearchAllocator(1)
    return repr(search(bench, allocator, [CAPACITY], settings=settings, log=None, progress=Silent())[0])


if __name__ == "__main__":
    print(found(sys.argv[1]))  # noqa: T201 - that is what it is for
