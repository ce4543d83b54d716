"""From a network to the allocator's question, and from its answer back to a plan."""

import copy
import math
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
from ravn.scoring.options import Options, cluster_options, codebook_options, layer_options, step_exponents
from ravn.scoring.replay import Replay

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
        self._replay = Replay(self._network)

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
        if FLOAT not in choices:
            return options.weight(choices).to(weight)
        if len(choices) == 1:
            return options.wanted.to(weight)
        settled = options.weight(tuple(max(c, 0) for c in choices)).to(weight)
        kept = torch.tensor([c == FLOAT for c in choices], device=weight.device)[options.owner]
        return torch.where(kept, weight, settled)

    def loss(self, selection: Selection) -> float:
        """L_RAVN of a selection on the images of the search; one forward pass from the first layer that has changed."""
        choices = self._choices(selection)
        return self._judge.loss(self.network(selection), lambda n, batch: self._replay.outputs(n, batch, choices))

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
        return replace(problem, equal=equal_selection(problem, fineness))


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
    capacity_bytes: int,
    fixed_rate: bool = False,
    largest_bytes: int | None = None,
    progress: Progress = iter,
) -> list[Options]:
    """Options of all layers.

    Steps for one budget are compensated as in the file: on the inputs that the layers before give at their steps in the
    middle, which are the equal plan or near it, and each layer makes good their errors. Over several budgets there is
    no such plan, and inputs are the float network's.

    Args:
        model: the float network.
        layers: layers to be decided about.
        batches: unlabelled network inputs for error compensation.
        clusters: clusters per layer that get bit-widths of their own; 0 makes the layer the unit
            and its step the choice.
        capacity_bytes: payload bytes of the budget; steps on offer lie around those that fill it, wider where the
            outputs mind errors less (`scoring/fisher.py`).
        fixed_rate: the budget counts codes of fixed length, and the choice is the bits of a layer's codebook.
        largest_bytes: the same of the largest of several budgets, of which `capacity_bytes` is the smallest: steps on
            offer reach from the one to the other.
        progress: wraps the loop over layers.
    """
    names = [layer.name for layer in layers]
    stepped = not clusters and not fixed_rate
    octaves = step_octaves(fisher_information(model, names, batches) if stepped else {}, names)
    step = filling_step(model, names, capacity_bytes, octaves) if stepped else 1.0
    several = stepped and largest_bytes not in (None, capacity_bytes)
    finest = filling_step(model, names, largest_bytes or capacity_bytes, octaves) if several else step
    exponents = step_exponents(math.log2(step / finest))
    places = {layer.name: i / max(len(layers) - 1, 1) for i, layer in enumerate(layers)}
    kinds = {layer.name: layer for layer in layers}
    moved, found = iter(progress(places)), dict[str, Options]()

    def note(name: str, moments: Moments | None) -> None:
        """Prepare the options of a layer."""
        next(moved, None)
        weight = model.get_parameter(name).detach()
        traits = layer_traits(kinds[name], weight, places[name])
        if clusters:
            found[name] = cluster_options(name, weight, clusters, traits)
        elif fixed_rate:
            found[name] = codebook_options(name, weight, moments, traits)
        else:
            middle = max(step * 2 ** octaves[name], least_step(weight))
            found[name] = layer_options(name, weight, moments, middle, traits, exponents=exponents)

    quantized = copy.deepcopy(model).eval() if stepped and not several else model
    with closing(weight_moments(quantized, model, names, [] if clusters else batches)) as seen:
        for name, moments in seen:
            note(name, moments)
            if quantized is not model:
                set_weights(quantized, [(name, found[name].middling().to(model.get_parameter(name)))])
    next(moved, None)
    return [found[name] for name in names]
