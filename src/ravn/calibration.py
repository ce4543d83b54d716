"""What unlabelled images say about a layer: the moments of its inputs, in the float and in the quantized network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ravn.codecs.rounding import Curvature, cholesky_damped, curvature
from ravn.codecs.spectrum import analysed_moment
from ravn.layers import owner, unfolded_inputs


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs.

    Args:
        second: E[q q^T] over the inputs q in the quantized network, shape (groups, columns,
            columns).
        cross: E[(x - q) q^T], x being the same inputs in the float network; same shape.
    """

    second: Tensor
    cross: Tensor

    def curvature(self, *, by_energy: bool = True) -> Curvature:
        """The curvature that error compensation needs, columns by descending energy or in their natural order."""
        return curvature(self.second, by_energy=by_energy)

    def analysed(self, shape: tuple[int, ...]) -> "Moments":
        """The moments of what the coefficients of kernels are multiplied with.

        Args:
            shape: of the weight.
        """
        return Moments(analysed_moment(self.second, shape), analysed_moment(self.cross, shape))

    def target(self, weight: Tensor, damping: float = 0.01) -> Tensor:
        """The weight whose outputs on the quantized inputs come nearest to the float outputs.

        Minimises `E||W x - T q||^2` over T: `T = W + W E[(x - q) q^T] E[q q^T]^-1`, with a ridge.

        Args:
            weight: float weight matrix, shape (rows, columns).
            damping: ridge as a share of the mean diagonal.

        Returns:
            Shape (rows, columns).
        """
        groups, columns, _ = self.second.shape
        blocks = weight.double().reshape(groups, -1, columns)
        shift = blocks @ self.cross.double()
        shift = torch.cholesky_solve(shift.mT, cholesky_damped(self.second.to(torch.float64, copy=True), damping)).mT
        return (blocks + shift).reshape(weight.shape).to(weight.dtype)


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
    """A sum of products of vectors and these more, in place once it has its shape; shape (groups, columns, columns)."""
    return total.baddbmm_(left.mT, right) if total.dim() == 3 else left.mT @ right
