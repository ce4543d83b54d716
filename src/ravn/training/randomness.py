"""Everything that training draws, decided by a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Generator]:
    """Seed the global generators, from which layers such as dropout draw; the former states come back afterwards.

    Args:
        seed: decides everything that is drawn inside.
        device: where the network runs.

    Yields:
        A generator of the same seed, for order and augmentation.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield Generator().manual_seed(seed)
