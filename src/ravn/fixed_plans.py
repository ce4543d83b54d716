"""Plans that no search decides: fixed-rate quantizers, as wide as the bytes allow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ravn.allocators.knapsack import solve
from ravn.codecs import CodebookCodec, Codec, UniformCodec, decoded
from ravn.errors import BudgetError
from ravn.plan import Layer

BITS = range(1, 9)
SAVED_BITS = 2
"""More than an entropy coder saves of a k-means codebook's codes: on Gaussian and Laplace weights, 0.1 to 0.5 bits."""

Planner = Callable[[nn.Module, Sequence[Layer], int], list[dict[str, Codec]]]
"""Candidates, each the codec of every layer, for a network, its layers and a capacity in payload bytes."""

FAMILIES: dict[str, Callable[[int], Sequence[Codec]]] = {
    "uniform": lambda bits: (UniformCodec(bits, per_channel=False), UniformCodec(bits, per_channel=True)),
    "k-means": lambda bits: (CodebookCodec(bits, entropy_coded=False), CodebookCodec(bits)),
}


@dataclass(frozen=True)
class FixedPlan:
    """Takes the place of an allocator where nothing is searched for.

    Args:
        name: what the file and the report call it.
        planner: gives the candidates; the one that hurts the network least is taken.
    """

    name: str
    planner: Planner


@dataclass(frozen=True)
class _Choices:
    """Codecs of one layer by increasing size, each better than all smaller ones."""

    codecs: list[Codec]
    sizes: list[int]
    errors: list[float]


def _choices(model: nn.Module, layer: Layer, family: str) -> _Choices:
    weight = model.get_parameter(layer.name).detach()
    tried = []
    for codec in (c for bits in BITS for c in FAMILIES[family](bits)):
        encoded = codec.encode(weight)
        error = float((decoded(encoded).float() - weight.float()).square().sum())
        tried.append((encoded.size_bytes, error, codec))
    kept = _Choices([], [], [])
    for size, error, codec in sorted(tried, key=lambda item: item[:2]):
        if not kept.sizes or (size > kept.sizes[-1] and error < kept.errors[-1]):
            kept.sizes.append(size)
            kept.errors.append(error)
            kept.codecs.append(codec)
    return kept


def at_bytes(model: nn.Module, layers: Sequence[Layer], family: str, capacity_bytes: int) -> list[dict[str, Codec]]:
    """The plans of a family with the least squared error of the weights: bits of each layer by exact knapsack.

    Args:
        model: the float network.
        layers: its layers.
        family: "uniform" or "k-means".
        capacity_bytes: the largest allowed sum of payload bytes.

    Returns:
        The plan of least error, and, if it is another one, that of least error relative to the energy of each layer,
        which is better where layers differ much in scale.

    Raises:
        BudgetError: one bit everywhere is too much.
    """
    choices = [_choices(model, layer, family) for layer in layers]
    energies = [float(model.get_parameter(layer.name).detach().square().sum()) for layer in layers]
    plans: list[dict[str, Codec]] = []
    for units in ([1.0] * len(layers), [max(energy, 1e-30) for energy in energies]):
        errors = [[error / unit for error in c.errors] for c, unit in zip(choices, units, strict=True)]
        selection = solve(errors, [c.sizes for c in choices], capacity_bytes)
        plan = {layer.name: c.codecs[i] for layer, c, i in zip(layers, choices, selection, strict=True)}
        plans += [] if plan in plans else [plan]
    return plans


def equal_codebooks(model: nn.Module, layers: Sequence[Layer], capacity_bytes: int) -> list[dict[str, Codec]]:
    """k-means codebooks of one bit-width in all layers: the largest that fits, in codes of one length if these fit.

    Args:
        model: the float network.
        layers: its layers.
        capacity_bytes: the largest allowed sum of payload bytes.

    Raises:
        BudgetError: one bit everywhere is too much.
    """
    weights = sum(layer.parameters for layer in layers)
    smallest = capacity_bytes
    for codec in (CodebookCodec(bits, entropy_coded=coded) for bits in reversed(BITS) for coded in (False, True)):
        if (codec.bits - SAVED_BITS * codec.entropy_coded) * weights > 8 * capacity_bytes:
            continue  # clustering is slow: what can't fit is not tried
        size = sum(codec.encode(model.get_parameter(layer.name).detach()).size_bytes for layer in layers)
        if size <= capacity_bytes:
            return [{layer.name: codec for layer in layers}]
        smallest = size
    raise BudgetError(
        f"a capacity of {capacity_bytes} bytes can't be met; codebooks of one bit take {smallest} bytes", smallest
    )


def four_bits(model: nn.Module, layers: Sequence[Layer], capacity_bytes: int) -> list[dict[str, Codec]]:
    """Equal steps of four bits in all layers, whatever they take."""
    del model, capacity_bytes
    return [{layer.name: UniformCodec(4) for layer in layers}]


def fitted(family: str) -> Planner:
    """What `at_bytes` gives for a family."""
    return lambda model, layers, capacity: at_bytes(model, layers, family, capacity)


FIXED_PLANS: Mapping[str, FixedPlan] = {
    "codebooks": FixedPlan("codebooks", equal_codebooks),
    "uniform 4-bit": FixedPlan("uniform 4-bit", four_bits),
    "uniform": FixedPlan("uniform, mixed bits", fitted("uniform")),
    "k-means": FixedPlan("k-means, mixed bits", fitted("k-means")),
}
