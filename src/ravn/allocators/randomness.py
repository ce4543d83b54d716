"""Random numbers and threads of the policy, kept apart from everybody else's."""

import random
from types import TracebackType
from typing import Any

import numpy as np


class PrivateRandomness:
    """A context with global generators and a thread count of its own.

    Libraries for reinforcement learning draw from the global generators of Python, NumPy and
    torch. Inside the context these continue where the last visit left them, whatever others drew
    in between: so a search whose losses come from a log runs exactly like one whose losses are
    computed. One thread, because the policies are small.

    Args:
        seed: seed of the first visit.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._own: tuple[Any, ...] | None = None

    def __enter__(self) -> None:
        """Put the own generators in place."""
        import torch

        self._others, self._threads = _states(), torch.get_num_threads()
        torch.set_num_threads(1)
        if self._own is None:
            random.seed(self._seed)
            np.random.seed(self._seed % 2**32)  # noqa: NPY002 (the global one is what libraries use)
            torch.manual_seed(self._seed)
        else:
            _restore(self._own)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the others' generators back."""
        import torch

        self._own = _states()
        _restore(self._others)
        torch.set_num_threads(self._threads)


def _states() -> tuple[Any, ...]:
    import torch

    return random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002


def _restore(states: tuple[Any, ...]) -> None:
    import torch

    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.random.set_rng_state(states[2])
