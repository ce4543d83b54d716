"""Weights that are trained through their own quantization."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ravn.codecs import Codec, Grid, SteppedCodec
from ravn.codecs.base import as_matrix
from ravn.encoding import RATE_PRICE, coarser, encode_layer, next_coarseness, priced_rounding, spacing

MAX_MOVE = 0.1
"""Largest change of log2 of the steps in one fit: weights that still sit on a grid have no smooth rate."""

FOLLOWED = 0.1
"""Share of what weights can travel between two fits that the steps may change by (`StraightThrough.refit`)."""


RATE_TOLERANCE, MOST_SIZES = 1e-3, 6
"""How near to the capacity a fit comes, as a share of it, and how many sizes it tries at most."""


class StraightThrough:
    """Latent float weights behind the quantized weights that a network computes with.

    The network always holds quantized weights. A gradient with respect to a quantized weight is
    given to the latent weight as it is (straight-through estimator, arXiv 1308.3432), the
    optimiser moves the latent weight, and `refresh` rounds it anew by distortion + price * bits, as
    `encode_layer` does. Latents are what the codec quantizes: coefficients where it quantizes spectra,
    so that the moves of an optimiser that knows each latent's gradient are in units of its steps.
    `refit` lets centroids and code lengths follow the weights and re-solves the common factor of
    all steps so that the entropy stays at the budget.

    Args:
        model: its weights of the names in `codecs` are replaced, in place; they ask for gradients
            even where they were frozen.
        codecs: codec of every layer.
        capacity_bytes: payload bytes that the codes may take.
        weights: float weight of every layer to start from, same shapes as the network's.

    Attributes:
        payload_bytes: what the codes took when steps were last fitted; None where no step is fitted.
    """

    def __init__(
        self,
        model: nn.Module,
        codecs: Mapping[str, Codec],
        capacity_bytes: int,
        weights: Mapping[str, Tensor],
    ) -> None:
        self.codecs = dict(codecs)
        self.latents = {n: nn.Parameter(c.analysed(weights[n].detach().float()).clone()) for n, c in codecs.items()}
        self._weights = {name: model.get_parameter(name).requires_grad_() for name in codecs}
        self._capacity_bytes = capacity_bytes
        self.payload_bytes: int | None = None
        self._grids: dict[str, Grid] = {}
        self._prices: dict[str, float] = {}

    def take_gradients(self) -> None:
        """Move the gradients of the quantized weights to the latent weights."""
        for name, weight in self._weights.items():
            found = weight.grad
            self.latents[name].grad = None if found is None else self.codecs[name].pulled_back(found.float())
            weight.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Quantize the latent weights into the network."""
        for name, weight in self._weights.items():
            codec, grid = self.codecs[name], self._grids[name]
            matrix = as_matrix(self.latents[name])
            codes = priced_rounding(matrix, grid, price=self._prices[name])
            weight.copy_(codec.synthesised(grid.values(codes).reshape(weight.shape)))

    @torch.no_grad()
    def refit(self, travel: float = math.inf) -> None:
        """Fit steps to the budget, and levels and code lengths to the weights; then quantize.

        Training gathers weights at the borders of their cells, where they belong to either level by turns, and the more
        closely the lower its rate. Steps that changed faster than these can follow would put all of them on one side.

        Args:
            travel: how far a weight can have moved since the last fit.
        """
        steps = [codec.step for codec in self.codecs.values() if isinstance(codec, SteppedCodec)]
        coarseness = self._solve_rate(min(MAX_MOVE, FOLLOWED * travel / min(steps))) if steps else 0.0
        self.fit_levels({name: coarser(codec, coarseness) for name, codec in self.codecs.items()})

    @torch.no_grad()
    def fit_levels(self, codecs: Mapping[str, Codec]) -> None:
        """Take these codecs as they are, fit their levels and code lengths to the weights, then quantize."""
        self.codecs = dict(codecs)
        for name, codec in self.codecs.items():
            latent = self.latents[name].detach()
            matrix, grid = as_matrix(latent), codec.shaped_grid(latent)
            self._grids[name], self._prices[name] = grid, RATE_PRICE * spacing(matrix, grid) ** 2
        self.refresh()

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The float weight behind every layer's latents."""
        return {name: self.codecs[name].synthesised(latent.detach()) for name, latent in self.latents.items()}

    def size_bytes(self, coarseness: float = 0.0) -> int:
        """Exact payload bytes of the latent weights if all steps were multiplied by 2^coarseness."""
        used = {name: coarser(codec, coarseness) for name, codec in self.codecs.items()}
        weights = self.weights()
        return sum(encode_layer(weights[name], codec, None).size_bytes for name, codec in used.items())

    def _solve_rate(self, reach: float) -> float:
        """Coarseness, at most `reach` either way, at which the codes fill the capacity most nearly."""
        target = self._capacity_bytes
        tried = [(0.0, self.size_bytes())]
        while len(tried) < MOST_SIZES and abs(tried[-1][1] - target) > RATE_TOLERANCE * target:
            moved = min(max(next_coarseness(tried, target), -reach), reach)
            if any(moved == known for known, _ in tried):
                break
            tried.append((moved, self.size_bytes(moved)))
        coarseness, self.payload_bytes = min(tried, key=lambda known: abs(known[1] - target))
        return coarseness

    def parameters(self) -> Sequence[nn.Parameter]:
        """The latent weights, for an optimiser."""
        return list(self.latents.values())
