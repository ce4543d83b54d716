"""Quantized weights for every choice of every layer, made once before a search."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing

from torch import Tensor, nn

from ravn.calibration import Moments, weight_moments
from ravn.codecs import EntropyCodec
from ravn.layers import set_weights
from ravn.plan import Layer
from ravn.scoring.fisher import fisher_information, step_octaves
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

    return _steps(model, weights, batches, traits, capacities, progress)


def _steps(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    traits: Mapping[str, tuple[float, ...]],
    capacities: Sequence[int],
    progress: Progress,
) -> list[Options]:
    names = list(weights)
    octaves = step_octaves(fisher_information(model, names, batches), names)
    filling = [filling_step(model, names, capacity, octaves) for capacity in sorted(set(capacities))]
    middles = {name: max(filling[0] * 2 ** octaves[name], least_step(weights[name])) for name in names}

    def near(budget: float, exponents: Sequence[float]) -> list[Options]:
        """Steps near a budget's, each under the equal plan of that budget."""
        quantized = copy.deepcopy(model).eval()

        def steps(name: str, moments: Moments | None) -> Options:
            """Steps of a layer; the layers after it see the equal one."""
            weight = weights[name]
            found = layer_options(
                name, weight, moments, middles[name], traits[name], exponents=exponents, budget=budget
            )
            set_weights(quantized, [(name, found.equal_weight().to(weight))])
            return found

        return _in_turn(quantized, model, names, batches, steps, progress)

    parts = [near(*share) for share in shares([math.log2(filling[0] / step) for step in filling]).items()]
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
