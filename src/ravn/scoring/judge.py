"""How good a plan is: L_RAVN of the network under it, in one forward pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ravn.fidelity import feature_points, features, finite_outputs, observed, performance_gap, ravn_loss

Pass = Callable[[int, Tensor], Tensor]

ONE_IN = 4
"""One image in so many has its features enter L_fidelity, which are kept in memory; all enter the performance gap."""


@dataclass(frozen=True)
class _Reference:
    """What the float network makes of a batch: its logits, its features, and their energies."""

    logits: Tensor
    features: Mapping[str, Tensor]
    energies: Mapping[str, Tensor]

    def error(self, name: str, output: Tensor) -> Tensor:
        """The term of L_fidelity (Eq. 5, 6) of one layer, normalised."""
        floats = self.features[name]
        difference = output[: len(floats)].float() - floats
        return torch.linalg.vector_norm(difference).square() / self.energies[name]


class Judge:
    """Measures L_RAVN (Eq. 7) of whatever weights a network holds, against the float network it was made from.

    Args:
        model: the float network.
        weight_names: layers whose features enter L_fidelity.
        batches: unlabelled network inputs.
        trade_off: lambda of Eq. 7.
        fidelity: weight of L_fidelity; at 0 no features are looked at, and L_fidelity counts as 0.
        temperature: of the performance gap.

    Raises:
        InputError: the float network's outputs are not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        weight_names: Sequence[str],
        batches: Sequence[Tensor],
        trade_off: float = 1.0,
        *,
        fidelity: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        self._batches = batches
        self._trade_off, self._fidelity, self._temperature = trade_off, fidelity, temperature
        self._points = feature_points(model, weight_names, batches[0][:2]) if fidelity else ()
        self._references = [self._reference(model, batch) for batch in batches]

    def _reference(self, model: nn.Module, batch: Tensor) -> _Reference:
        with torch.no_grad(), features(model, self._points, -(-len(batch) // ONE_IN)) as seen:
            logits = finite_outputs(model, batch)
        floats = {name: output.float() for name, output in seen.items()}
        return _Reference(logits, floats, {n: f.square().sum().clamp_min(1e-12) for n, f in floats.items()})

    def parts(self, model: nn.Module, passed: Pass | None = None) -> tuple[float, float]:
        """L_fidelity and the performance gap of a network, mean over the images.

        Args:
            model: the network.
            passed: what the network makes of a batch, which it is given with its number; None calls the network.
        """
        fidelity, gap, images = 0.0, 0.0, 0
        for number, (batch, reference) in enumerate(zip(self._batches, self._references, strict=True)):
            # Errors are summed up while the features are still in the cache, or they would cost a fifth of the pass.
            with torch.no_grad(), observed(model, self._points, reference.error) as errors:
                ours = (model(batch) if passed is None else passed(number, batch)).float()
            fidelity += len(batch) * (float(torch.stack(list(errors.values())).mean()) if errors else 0.0)
            # A divergence is not negative, but its floating-point sum may be.
            gap += len(batch) * float(performance_gap(reference.logits, ours, self._temperature).clamp_min(0))
            images += len(batch)
        return fidelity / images, gap / images

    def loss(self, model: nn.Module, passed: Pass | None = None) -> float:
        """L_RAVN of a network; infinite where the network's outputs are not finite. Arguments as in `parts`."""
        fidelity, gap = self.parts(model, passed)
        total = float(ravn_loss(torch.tensor(self._fidelity * fidelity), torch.tensor(gap), self._trade_off))
        return total if math.isfinite(total) else math.inf
