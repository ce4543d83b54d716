"""Weights that are trained through their own quantization."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ravn.codecs import Codec, Grid, SteppedCodec
from ravn.codecs.base import as_matrix
from ravn.encoding import RATE_PRICE, coarser, encode_decided, encode_layer, next_coarseness, priced_rounding, spacing

MAX_MOVE = 0.1
"""Largest change of log2 of the steps in one fit: weights that still sit on a grid have no smooth rate."""

SETTLED = 0.02
"""How far weights may travel between two fits, in steps, for code lengths to stay as they are."""

RATE_TOLERANCE, MOST_SIZES = 1e-3, 6
"""How near to the capacity a fit comes, as a share of it, and how many sizes it tries at most."""


@dataclass(frozen=True)
class Rounding:
    """How the latent weights of a layer become quantized ones.

    Args:
        codec: of the layer.
        grid: its levels and code lengths.
        price: of a bit, in squared units of the latent weights.
    """

    codec: Codec
    grid: Grid
    price: float

    def quantized(self, latent: Tensor) -> Tensor:
        """The weight that these latents stand for, of their shape."""
        codes = priced_rounding(as_matrix(latent), self.grid, price=self.price)
        return self.codec.synthesised(self.grid.values(codes).reshape(latent.shape))

    def coarser(self, coarseness: float) -> "Rounding":
        """The same code lengths at steps multiplied by 2^coarseness."""
        codec = coarser(self.codec, coarseness)
        if not isinstance(codec, SteppedCodec) or not isinstance(self.codec, SteppedCodec):
            return self
        grid = replace(self.grid, levels=(self.grid.levels / self.codec.step).round() * codec.step)
        return Rounding(codec, grid, self.price * (codec.step / self.codec.step) ** 2)


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
        roundings: how every layer is quantized; none before the first fit.
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
        self.roundings: dict[str, Rounding] = {}

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
            weight.copy_(self.roundings[name].quantized(self.latents[name]))

    @torch.no_grad()
    def refit(self, travel: float = math.inf) -> None:
        """Fit steps to the budget, and levels and code lengths to the weights; then quantize.

        Where weights hardly move any more, code lengths stay: they are made from the best of a few tables, and when the
        choice turns to another, hundreds of weights that lie at the borders of their cells would change sides at once
        (docs/experiments.md).

        Args:
            travel: how far a latent weight can have moved since the last fit, in its own units.
        """
        steps = [codec.step for codec in self.codecs.values() if isinstance(codec, SteppedCodec)]
        if self.roundings and len(steps) == len(self.codecs) and travel < SETTLED * min(steps):
            coarseness = self._solve_rate(self._held_bytes)
            self.take({name: rounding.coarser(coarseness) for name, rounding in self.roundings.items()})
            return
        coarseness = self._solve_rate(self.size_bytes) if steps else 0.0
        self.fit_levels({name: coarser(codec, coarseness) for name, codec in self.codecs.items()})

    @torch.no_grad()
    def take(self, roundings: Mapping[str, Rounding]) -> None:
        """Quantize like this from now on."""
        self.roundings = dict(roundings)
        self.codecs = {name: rounding.codec for name, rounding in roundings.items()}
        self.refresh()

    @torch.no_grad()
    def fit_levels(self, codecs: Mapping[str, Codec]) -> None:
        """Take these codecs as they are, fit their levels and code lengths to the weights, then quantize."""
        roundings = {}
        for name, codec in codecs.items():
            latent = self.latents[name].detach()
            grid = codec.shaped_grid(latent)
            roundings[name] = Rounding(codec, grid, RATE_PRICE * spacing(as_matrix(latent), grid) ** 2)
        self.take(roundings)

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The float weight behind every layer's latents."""
        return {name: self.codecs[name].synthesised(latent.detach()) for name, latent in self.latents.items()}

    def size_bytes(self, coarseness: float = 0.0) -> int:
        """Exact payload bytes of the latent weights if all steps were multiplied by 2^coarseness."""
        used = {name: coarser(codec, coarseness) for name, codec in self.codecs.items()}
        weights = self.weights()
        return sum(encode_layer(weights[name], codec, None).size_bytes for name, codec in used.items())

    def _held_bytes(self, coarseness: float) -> int:
        """The same as `size_bytes`, but for code lengths that stay as they are."""
        total = 0
        for name, weight in self.weights().items():
            rounding = self.roundings[name].coarser(coarseness)
            total += encode_decided(weight, rounding.codec, rounding.quantized(self.latents[name].detach())).size_bytes
        return total

    def _solve_rate(self, size_bytes: Callable[[float], int]) -> float:
        """Coarseness at which the codes fill the capacity most nearly."""
        target = self._capacity_bytes
        tried = [(0.0, size_bytes(0.0))]
        while len(tried) < MOST_SIZES and abs(tried[-1][1] - target) > RATE_TOLERANCE * target:
            moved = min(max(next_coarseness(tried, target), -MAX_MOVE), MAX_MOVE)
            if any(moved == known for known, _ in tried):
                break
            tried.append((moved, size_bytes(moved)))
        coarseness, self.payload_bytes = min(tried, key=lambda known: abs(known[1] - target))
        return coarseness

    def parameters(self) -> Sequence[nn.Parameter]:
        """The latent weights, for an optimiser."""
        return list(self.latents.values())
