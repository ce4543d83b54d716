"""Moments of one layer's inputs by passes of their own: the oracle for passes that wait at every layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ravn.calibration import Moments
from ravn.layers import owner, unfolded_inputs


class _InputsSeenError(Exception):
    """Stops a forward pass at the layer whose inputs were wanted."""


@contextmanager
def _capturing(module: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        """Keep the inputs and end the pass."""
        seen.append(next(iter((*inputs, *named.values()))).detach())
        raise _InputsSeenError

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def layer_inputs(model: nn.Module, module: nn.Module, batch: Tensor) -> Tensor | None:
    """What a module is first called with when the model sees a batch; None if it never is."""
    with torch.no_grad(), _capturing(module) as seen:
        try:
            model(batch)
        except _InputsSeenError:
            return seen[0]
    return None


def input_moments(
    quantized: nn.Module, reference: nn.Module, weight_name: str, batches: Sequence[Tensor]
) -> Moments | None:
    """Moments of the inputs of one layer over all batches.

    Args:
        quantized: the network whose earlier layers are quantized already.
        reference: the float network.
        weight_name: name of the layer's weight.
        batches: network inputs.

    Returns:
        None where the layer is not a product that can be compensated (embeddings, transposed and
        3-d convolutions, weights that are used without calling their module).
    """
    inner, outer = owner(quantized, weight_name), owner(reference, weight_name)
    second, cross, count = torch.zeros(1), torch.zeros(1), 0
    for batch in batches:
        ours = layer_inputs(quantized, inner, batch)
        if ours is None or (vectors := unfolded_inputs(inner, ours)) is None:
            return None
        vectors = vectors.float()
        second = _grown(second, vectors, vectors)
        count += vectors.shape[1]
        if quantized is not reference:
            theirs = layer_inputs(reference, outer, batch)
            floats = None if theirs is None else unfolded_inputs(outer, theirs)
            if floats is not None:
                cross = _grown(cross, floats.float() - vectors, vectors)
    return Moments(second.div_(count), cross.div_(count).expand_as(second))


def _grown(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return total.baddbmm_(left.mT, right) if total.dim() == 3 else left.mT @ right
