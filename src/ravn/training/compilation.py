"""Networks compiled by `torch.compile`, and one sentence where they can't be."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ravn.errors import RavnError

Network = Callable[[Tensor], Tensor]
"""From inputs to logits."""

COMPILER = ("torch._dynamo", "torch._inductor")
"""Modules whose errors say that compiling failed."""


def compiled(model: nn.Module) -> Network:
    """A network that is compiled when it is called for the first time; weights are shared with the original.

    Args:
        model: the network; batch norms have to keep their mode.

    Returns:
        What to call instead of the network. It raises RavnError where the network can't be compiled.
    """
    optimised: Network = torch.compile(model)

    def call(inputs: Tensor) -> Tensor:
        """Run it."""
        try:
            return optimised(inputs)
        except Exception as error:
            if not type(error).__module__.startswith(COMPILER):
                raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise RavnError(
                f"{type(model).__name__} can't be compiled here ({reason[0]});"
                " leave --compile out, or install a C++ compiler"
            ) from error

    return call
