"""What unlabelled images say about a layer: the moments of its inputs, in the float and in the quantized network."""

from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ravn.codecs.rounding import DAMPING, Curvature, cholesky_damped, curvature
from ravn.codecs.spectrum import analysed_moment
from ravn.layers import unfolded_inputs
from ravn.lockstep import lockstep


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

    def target(self, weight: Tensor, damping: float = DAMPING) -> Tensor:
        """The weight whose outputs on the quantized inputs come nearest to the float outputs.

        Minimises `E||W x - T q||^2` over T: `T = W + W E[(x - q) q^T] E[q q^T]^-1`, with a ridge.

        Args:
            weight: float weight matrix, shape (rows, columns).
            damping: ridge as a share of the mean diagonal.

        Returns:
            Shape (rows, columns).
        """
        if not self.cross.any():  # nothing to make good
            return weight
        groups, columns, _ = self.second.shape
        blocks = weight.double().reshape(groups, -1, columns)
        shift = blocks @ self.cross.double()
        shift = torch.cholesky_solve(shift.mT, cholesky_damped(self.second.to(torch.float64, copy=True), damping)).mT
        return (blocks + shift).reshape(weight.shape).to(weight.dtype)


def weight_moments(
    quantized: nn.Module, reference: nn.Module, names: Sequence[str], batches: Sequence[Tensor]
) -> Generator[tuple[str, Moments | None], None, None]:
    """Moments of the inputs of layer after layer, in the order in which the network calls them.

    Between two of them a layer may be quantized; those that follow see it.

    Args:
        quantized: the network whose layers are being quantized.
        reference: the float network; may be the same.
        names: of the weights.
        batches: network inputs.

    Yields:
        Name of a weight, and the moments; None where its layer is not a product that can be compensated (embeddings,
        transposed and 3-d convolutions, modules that are never called). Those that are never called come first.
    """
    owned: dict[str, list[str]] = {}
    for name in names:
        owned.setdefault(name.rpartition(".")[0], []).append(name)
    called = _called(quantized, owned, batches[0][:1]) if batches else []
    yield from ((name, None) for module in owned if module not in called for name in owned[module])
    runs = [(quantized, batch) for batch in batches]
    if reference is not quantized:
        runs += [(reference, batch) for batch in batches]
    with closing(lockstep(runs, called)) as stops:
        for place, seen in stops:
            pairs = [(seen[k], seen.get(len(batches) + k)) for k in range(len(batches)) if k in seen]
            moments = _moments(quantized.get_submodule(place), pairs)
            yield from ((name, moments) for name in owned[place])


def _called(model: nn.Module, names: Collection[str], batch: Tensor) -> list[str]:
    """Those of the named modules that a network calls."""
    with closing(lockstep([(model, batch)], names)) as stops:
        return [name for name, _ in stops]


def _moments(module: nn.Module, pairs: Sequence[tuple[Tensor, Tensor | None]]) -> Moments | None:
    """Moments of inputs in the quantized network, and in the float network where those are known."""
    second, cross, count = torch.zeros(1), torch.zeros(1), 0
    for ours, theirs in pairs:
        vectors = unfolded_inputs(module, ours)
        if vectors is None:
            return None
        vectors = vectors.float()
        second = _grown(second, vectors, vectors)
        count += vectors.shape[1]
        floats = None if theirs is None else unfolded_inputs(module, theirs)
        if floats is not None:
            cross = _grown(cross, floats.float() - vectors, vectors)
    return Moments(second.div_(count), cross.div_(count).expand_as(second)) if count else None


def _grown(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A sum of products of vectors and these more, in place once it has its shape; shape (groups, columns, columns)."""
    return total.baddbmm_(left.mT, right) if total.dim() == 3 else left.mT @ right
