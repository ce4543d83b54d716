"""Short trainings with one thing changed each: what `training.py ingredients` runs."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ravn.batches import shuffled, size
from ravn.codecs import Codec, Encoded, EntropyCodec
from ravn.encoding import RATE_PRICE, coarser, encode_layer, encode_network, encode_within
from ravn.layers import weight_layers
from ravn.task import Task
from ravn.training import Recipe
from ravn.training.loop import training_mode
from ravn.training.objective import Objective, channels_last
from ravn.training.randomness import seeded
from ravn.training.straight_through import StraightThrough

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ingredients:
    """One short training.

    Args:
        recipe: of the training.
        price: of a bit in squared level spacings, while training.
        learned_steps: rate of the layers' relative steps, which are learned (LSQ, arXiv 1902.08153), relative to that
            of the weights; the budget has the common factor.
        averaging: decay of the weights' mean over time, which is what is kept.
        damping: share of the way to their levels that weights are moved in the last step, rising from none (the
            oscillations of arXiv 2203.11086).
        first_bits: bits per weight at the beginning, which fall to the budget in the first 60 % of the steps.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=2))
    price: float = RATE_PRICE
    learned_steps: float = 0.0
    averaging: float = 0.0
    damping: float = 0.0
    first_bits: float = 0.0


def _recipe(**changes: Any) -> Ingredients:  # noqa: ANN401 - fields of Recipe
    return Ingredients(recipe=replace(Recipe(epochs=2), **changes))


TRIALS: Mapping[str, Ingredients] = {
    "nothing: the default recipe": Ingredients(),
    "learned steps, rate x 1": Ingredients(learned_steps=1.0),
    "learned steps, rate x 5": Ingredients(learned_steps=5.0),
    "mean of the weights, decay .95": Ingredients(averaging=0.95),
    "mean of the weights, decay .98": Ingredients(averaging=0.98),
    "damping .002": Ingredients(damping=0.002),
    "damping .02": Ingredients(damping=0.02),
    "no price on bits while training": Ingredients(price=0.0),
    "price .2": Ingredients(price=0.2),
    "rate falls from 1.5 bits": Ingredients(first_bits=1.5),
    "batch norms follow the batches, re-estimated": _recipe(batch_statistics=True),
    "labels .1 beside the outputs, nothing blended": _recipe(labels=0.1),
    "labels .3 beside the outputs, nothing blended": _recipe(labels=0.3),
    "nothing blended": _recipe(mixing=0.0),
    "learning rate 5e-4": _recipe(learning_rate=5e-4),
    "learning rate 2e-3": _recipe(learning_rate=2e-3),
    "temperature 2": _recipe(temperature=2.0),
    "temperature 4": _recipe(temperature=4.0),
    "L_fidelity, weight 1": _recipe(fidelity=1.0),
    "norms and biases as slow as the weights": _recipe(other_rate=1.0),
}


class LearnedSteps(StraightThrough):
    """Latent weights whose layers also learn their steps, relative to each other."""

    def __init__(self, model: nn.Module, codecs: Mapping[str, Codec], capacity_bytes: int, price: float) -> None:
        weights = {name: model.get_parameter(name).detach() for name in codecs}
        super().__init__(model, codecs, capacity_bytes, weights)
        self.price = price
        self.log_steps = {name: nn.Parameter(torch.zeros(())) for name in codecs}
        self._applied = dict.fromkeys(codecs, 0.0)

    def take_gradients(self) -> None:
        """As always; a step of s moves what is quantized to q by (q - latent) / s."""
        quantized = {name: self.codecs[name].analysed(weight.detach()) for name, weight in self._weights.items()}
        super().take_gradients()
        for name, latent in self.latents.items():
            if latent.grad is not None:
                self.log_steps[name].grad = (latent.grad * (quantized[name] - latent.detach())).sum()

    def fit_levels(self, codecs: Mapping[str, Codec]) -> None:
        """As always, at this price."""
        super().fit_levels(codecs)
        share = self.price / RATE_PRICE
        self.take({name: replace(found, price=found.price * share) for name, found in self.roundings.items()})

    def size_bytes(self, coarseness: float = 0.0) -> int:
        """As always, at this price."""
        weights = self.weights()
        return sum(
            encode_layer(weights[name], coarser(codec, coarseness), None, rate_price=self.price).size_bytes
            for name, codec in self.codecs.items()
        )

    def follow(self) -> None:
        """Give the layers the steps that they have learned."""
        for name, log_step in self.log_steps.items():
            move = (float(log_step.detach()) - self._applied[name]) / 0.6931
            self._applied[name] = float(log_step.detach())
            self.roundings[name] = self.roundings[name].coarser(move)
            self.codecs[name] = self.roundings[name].codec

    @torch.no_grad()
    def damp(self, share: float) -> None:
        """Move latent weights towards their levels."""
        for name, weight in self._weights.items():
            self.latents[name].lerp_(self.codecs[name].analysed(weight), share)

    def aim(self, capacity_bytes: int) -> None:
        """Another budget from now on."""
        self._capacity_bytes = capacity_bytes


def equal_step(model: nn.Module, capacity_bytes: int) -> dict[str, Codec]:
    """The same step in all layers, spectra, as wide as the capacity asks."""

    def encode(used: Mapping[str, Codec], rate_price: float) -> dict[str, Encoded]:
        """Encode all layers."""
        return encode_network(model, used, [], rate_price=rate_price)

    names = [layer.name for layer in weight_layers(model)]
    start: dict[str, Codec] = dict.fromkeys(names, EntropyCodec(0.1, spectral=True))
    return encode_within(encode, start, capacity_bytes, tolerance=1e-3)[0]


class Trial:
    """A short training, as `ravn.training.loop` has it, with these ingredients.

    Args:
        task: its model is the float network, where it starts.
        wanted: the ingredients.
        capacity: payload bytes at so many times the budget's bits per weight.
    """

    def __init__(self, task: Task, wanted: Ingredients, capacity: Callable[[float], int]) -> None:
        self._task, self._wanted, self._capacity = task, wanted, capacity
        self.model = channels_last(copy.deepcopy(task.model))
        budget, recipe = capacity(1.0), wanted.recipe
        self.quantized = LearnedSteps(self.model, equal_step(self.model, budget), budget, wanted.price)
        others = [p for n, p in self.model.named_parameters() if n not in self.quantized.latents]
        self._moved = [*self.quantized.parameters(), *others]
        self._means = [p.detach().clone() for p in self._moved]
        parts = [(self.quantized.parameters(), 1.0), (others, recipe.other_rate)]
        if wanted.learned_steps:
            parts.append((list(self.quantized.log_steps.values()), wanted.learned_steps))
        groups = [{"params": params, "share": share} for params, share in parts]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=0.0)
        self._objective = Objective(task, self.model, recipe)
        self._steps, self._done = recipe.epochs * -(-size(task.train) // recipe.batch_size), 0

    def run(self, seed: int) -> nn.Module:
        """Train; gives the network as it is quantized in the end."""
        recipe = self._wanted.recipe
        self.quantized.refit()
        for epoch in range(recipe.epochs):
            training_mode(self.model, batch_statistics=recipe.batch_statistics)
            with seeded(seed * 1_000_003 + epoch, CPU) as generator:
                for stored, labels in shuffled(self._task.train, recipe.batch_size, generator):
                    self._step(self._task.augment(stored, generator), labels, generator)
        if self._wanted.averaging:
            for mean, parameter in zip(self._means, self._moved, strict=True):
                parameter.data.copy_(mean)
        for _ in range(3):
            self.quantized.refit()
        print(f"{self.quantized.size_bytes():,} of {self._capacity(1.0):,} bytes for codes", flush=True)
        return self.model.eval()

    def _step(self, stored: Tensor, labels: Tensor, generator: Generator) -> None:
        self._done += 1
        wanted, share = self._wanted, min(self._done / self._steps, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = wanted.recipe.learning_rate * group["share"] * wanted.recipe.rate(share)
        self._optimizer.zero_grad()
        self._objective.backward(stored, labels, generator)
        self.quantized.take_gradients()
        self._optimizer.step()
        if wanted.damping:
            self.quantized.damp(wanted.damping * share)
        if wanted.learned_steps:
            self.quantized.follow()
        for mean, new in zip(self._means, self._moved, strict=True):
            mean.lerp_(new.detach(), 1 - min(wanted.averaging, self._done / (self._done + 9)))
        self._round(share)

    def _round(self, share: float) -> None:
        """Quantize anew, now and then at new steps."""
        every = self._wanted.recipe.refit_every
        if self._wanted.first_bits:
            every = 10
            self.quantized.aim(self._capacity(1 + (self._wanted.first_bits - 1) * max(1 - share / 0.6, 0.0)))
        if self._done % every == 0:
            self.quantized.refit(every * self._optimizer.param_groups[0]["lr"])
        else:
            self.quantized.refresh()
