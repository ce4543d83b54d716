"""How good a plan is: L_RAVN of the network under it, in one forward pass."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ravn.fidelity import feature_points, features, fidelity_loss, performance_gap, ravn_loss

FIDELITY_IMAGES = 32
"""Images of every batch whose features enter L_fidelity; all images enter the performance gap."""


class Judge:
    """Measures L_RAVN (Eq. 7) of whatever weights a network holds, against the float network it was made from.

    Args:
        model: the float network.
        weight_names: layers whose features enter L_fidelity.
        batches: unlabelled network inputs.
        trade_off: lambda of Eq. 7.
    """

    def __init__(
        self,
        model: nn.Module,
        weight_names: Sequence[str],
        batches: Sequence[Tensor],
        trade_off: float = 1.0,
    ) -> None:
        self._batches = batches
        self._trade_off = trade_off
        self._points = feature_points(model, weight_names, batches[0][:2])
        self._references = [self._run(model, batch) for batch in batches]

    def _run(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad(), features(model, self._points, FIDELITY_IMAGES) as seen:
            logits = model(batch)
            return logits.float(), dict(seen)

    def parts(self, model: nn.Module) -> tuple[float, float]:
        """L_fidelity and the performance gap of a network, mean over the images."""
        fidelity, gap, images = 0.0, 0.0, 0
        for batch, (logits, reference) in zip(self._batches, self._references, strict=True):
            ours, seen = self._run(model, batch)
            fidelity += len(batch) * float(fidelity_loss(reference, seen))
            # A divergence is not negative, but its floating-point sum may be.
            gap += len(batch) * float(performance_gap(logits, ours).clamp_min(0))
            images += len(batch)
        return fidelity / images, gap / images

    def loss(self, model: nn.Module) -> float:
        """L_RAVN of a network; infinite where the network's outputs are not finite."""
        fidelity, gap = self.parts(model)
        total = float(ravn_loss(torch.tensor(fidelity), torch.tensor(gap), self._trade_off))
        return total if math.isfinite(total) else math.inf
