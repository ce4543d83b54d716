"""From a network to the allocator's question, and from its answer back to a plan."""

import copy
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor, nn

from ravn.allocators.problem import FLOAT, Problem, Selection
from ravn.calibration import Moments, weight_moments
from ravn.codecs import Codec, EntropyCodec
from ravn.layers import set_weights
from ravn.plan import Layer
from ravn.scoring.fisher import fisher_information, step_octaves
from ravn.scoring.judge import Judge
from ravn.scoring.options import Options, cluster_options, codebook_options, joined, layer_options, step_exponents

Progress = Callable[[Iterable[str]], Iterable[str]]

_MOST_LEVELS = 1 << 13
"""Levels at the step in the middle: the finest on offer makes four times as many, and a code has 2^16 at most."""


def filling_step(
    model: nn.Module, names: Sequence[str], capacity_bytes: int, octaves: Mapping[str, float] | None = None
) -> float:
    """The step that, rounded plainly and in each layer so many octaves wider, fills the capacity; to 0.1 %.

    Args:
        model: the float network.
        names: of the weights.
        capacity_bytes: the largest allowed sum of payload bytes.
        octaves: binary logarithm of each layer's step relative to the result; None for one step in all layers.
    """
    wider = octaves or dict.fromkeys(names, 0.0)
    weights = {name: model.get_parameter(name).detach() for name in names}
    least = {name: least_step(weight) for name, weight in weights.items()}
    low, high = 1e-6, 2.0 * _MOST_LEVELS * max(least[name] / 2 ** wider[name] for name in names) + 1e-6
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        steps = {name: max(middle * 2 ** wider[name], least[name]) for name in names}
        codecs = {name: EntropyCodec(step, spectral=True) for name, step in steps.items()}
        fits = any(steps[name] > least[name] for name in names) and (
            sum(codec.encode(weights[name]).size_bytes for name, codec in codecs.items()) <= capacity_bytes
        )
        low, high = (low, middle) if fits else (middle, high)
    return high


def least_step(weight: Tensor) -> float:
    """The finest step around which options of a layer lie."""
    peak = float(EntropyCodec(1.0, spectral=True).analysed(weight.float()).abs().max())
    return 2 * peak / _MOST_LEVELS


class Workbench:
    """Options of every layer, prepared once; scores a selection by pointing the network at prepared weights.

    Args:
        model: the float network; it is not changed.
        layers: layers to be decided about.
        options: prepared options, in the order of `layers`.
        judge: measures the loss on the images of the search.
        holdout: measures the loss on images that the search must not learn from.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        options: Sequence[Options],
        judge: Judge,
        holdout: Judge,
    ) -> None:
        self._network = copy.deepcopy(model).eval()
        self._floats = {layer.name: model.get_parameter(layer.name).detach() for layer in layers}
        self._options = dict(zip(self._floats, options, strict=True))
        self._judge, self.holdout = judge, holdout

    def _choices(self, selection: Selection) -> Mapping[str, Selection]:
        counts = [len(o.units) for o in self._options.values()]
        stops = torch.tensor(counts).cumsum(0).tolist()
        return {n: selection[e - c : e] for n, c, e in zip(self._options, counts, stops, strict=True)}

    def network(self, selection: Selection) -> nn.Module:
        """The network under a selection, until the next one is asked for: there is only one network."""
        for name, choices in self._choices(selection).items():
            parameter = self._network.get_parameter(name)
            parameter.data = self._weight(name, choices)
        return self._network

    def _weight(self, name: str, choices: Selection) -> Tensor:
        options, weight = self._options[name], self._floats[name]
        if min(choices) >= 0:
            return options.weight(choices).to(weight)
        if len(choices) == 1:
            return options.wanted[FLOAT - choices[0]].to(weight)
        settled = options.weight(tuple(max(c, 0) for c in choices)).to(weight)
        kept = torch.tensor([c < 0 for c in choices], device=weight.device)[options.owner]
        return torch.where(kept, weight, settled)

    def loss(self, selection: Selection) -> float:
        """L_RAVN of a selection on the images of the search; one forward pass."""
        return self._judge.loss(self.network(selection))

    def holdout_loss(self, selection: Selection) -> float:
        """L_RAVN of a selection on images that the search does not learn from."""
        return self.holdout.loss(self.network(selection))

    def codecs(self, selection: Selection) -> dict[str, Codec]:
        """The codec of every layer under a selection."""
        return {n: self._options[n].codec(c) for n, c in self._choices(selection).items()}

    def problem(self, capacity_bytes: int, evaluations: int) -> Problem:
        """The allocator's question for a capacity of payload bytes."""
        units = tuple(unit for options in self._options.values() for unit in options.units)
        capacity = capacity_bytes - sum(o.base_bytes for o in self._options.values())
        fineness = [row for options in self._options.values() for row in options.fineness()]
        problem = Problem(units, capacity, self.loss, self.holdout_loss, (0,) * len(units), evaluations)
        equal = equal_selection(problem, fineness)
        octaves = statistics.median(row[choice] for row, choice in zip(fineness, equal, strict=True))
        budget = next(iter(self._options.values())).budget_of(octaves)
        return replace(problem, equal=equal, floating=FLOAT - budget)


def equal_selection(problem: Problem, fineness: Sequence[Sequence[float]]) -> Selection:
    """The same fineness in every unit, from the coarsest, then the next finer one in unit after unit while it fits.

    Args:
        problem: units and capacity.
        fineness: of every choice, one ascending row per unit; where a unit lacks one, it keeps its next coarser.
    """
    best = (0,) * len(problem.units)
    for level in sorted({value for row in fineness for value in row}):
        for unit, row in enumerate(fineness):
            choice = max((i for i, value in enumerate(row) if value <= level), default=0)
            trial = (*best[:unit], choice, *best[unit + 1 :])
            if not problem.fits(trial):
                return best
            best = trial
    return best


def layer_traits(layer: Layer, weight: Tensor, place: float) -> tuple[float, ...]:
    """Static description of a layer for a learned policy: size, depth, kind, fan-in, peakedness; all of order one."""
    values = weight.detach().float().flatten()
    deviation = values - values.mean()
    spread = float(deviation.square().mean().clamp_min(1e-30))
    kurtosis = float(deviation.pow(4).mean()) / spread**2
    fan_in = layer.parameters / max(layer.shape[0], 1)
    convolution = float("Conv" in layer.kind)
    return (
        math.log10(layer.parameters) / 6,
        place,
        convolution,
        math.log10(max(fan_in, 1.0)) / 4,
        math.log10(max(kurtosis, 0.1)),
        math.log10(spread) / 4,
    )


def prepare(
    model: nn.Module,
    layers: Sequence[Layer],
    batches: Sequence[Tensor],
    *,
    clusters: int,
    capacities: Sequence[int],
    fixed_rate: bool = False,
    progress: Progress = iter,
) -> list[Options]:
    """Options of all layers.

    Steps are compensated as in the file: each is rounded on the inputs that the layers before give under the equal plan
    of the budget to whose step it is nearest, and makes good their errors.

    Args:
        model: the float network.
        layers: layers to be decided about.
        batches: unlabelled network inputs for error compensation.
        clusters: clusters per layer that get bit-widths of their own; 0 makes the layer the unit
            and its step the choice.
        capacities: payload bytes of the budgets; steps on offer lie around those that fill them, wider where the
            outputs mind errors less (`scoring/fisher.py`).
        fixed_rate: the budget counts codes of fixed length, and the choice is the bits of a layer's codebook.
        progress: wraps loops over layers.
    """
    names = [layer.name for layer in layers]
    weights = {name: model.get_parameter(name).detach() for name in names}
    ends = max(len(layers) - 1, 1)
    traits = {layer.name: layer_traits(layer, weights[layer.name], i / ends) for i, layer in enumerate(layers)}
    if clusters:
        return [cluster_options(name, weights[name], clusters, traits[name]) for name in progress(names)]
    if fixed_rate:

        def codebooks(name: str, moments: Moments | None) -> Options:
            """Codebooks that are compensated on the float network's inputs."""
            return codebook_options(name, weights[name], moments, traits[name])

        return _in_turn(model, model, names, batches, codebooks, progress)

    octaves = step_octaves(fisher_information(model, names, batches), names)
    filling = [filling_step(model, names, capacity, octaves) for capacity in sorted(set(capacities))]
    middles = {name: max(filling[0] * 2 ** octaves[name], least_step(weights[name])) for name in names}
    parts = []
    for budget, exponents in shares([math.log2(filling[0] / step) for step in filling]).items():
        quantized = copy.deepcopy(model).eval()

        def steps(
            name: str,
            moments: Moments | None,
            *,
            near: float = budget,
            offered: Sequence[float] = exponents,
            network: nn.Module = quantized,
        ) -> Options:
            """Steps near a budget's; the layers after see the one that is nearest."""
            weight = weights[name]
            found = layer_options(name, weight, moments, middles[name], traits[name], exponents=offered, budget=near)
            set_weights(network, [(name, found.equal_weight().to(weight))])
            return found

        parts.append(_in_turn(quantized, model, names, batches, steps, progress))
    return [joined(of_layer) for of_layer in zip(*parts, strict=True)]


def shares(budgets: Sequence[float]) -> dict[float, list[float]]:
    """The steps on offer that are nearest to each budget's, coarsest first; without budgets that no step is nearest to.

    Args:
        budgets: octaves of each budget's step below that of the smallest, ascending from 0.
    """
    found: dict[float, list[float]] = {budget: [] for budget in budgets}
    for exponent in step_exponents(budgets[-1]):
        found[min(budgets, key=lambda budget: abs(budget + exponent))].append(exponent)
    return {budget: exponents for budget, exponents in found.items() if exponents}


def _in_turn(
    quantized: nn.Module,
    model: nn.Module,
    names: Sequence[str],
    batches: Sequence[Tensor],
    make: Callable[[str, Moments | None], Options],
    progress: Progress,
) -> list[Options]:
    """Options of one layer after another, each made on the inputs that a network, which may change, gives it."""
    found: dict[str, Options] = {}
    moved = iter(progress(names))
    with closing(weight_moments(quantized, model, names, batches)) as seen:
        for name, moments in seen:
            next(moved, None)
            found[name] = make(name, moments)
    next(moved, None)
    return [found[name] for name in names]
