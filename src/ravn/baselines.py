"""What everything is compared with: fixed-rate quantizers in files of the same size, given the same care."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from ravn import stages
from ravn.allocators.knapsack import solve
from ravn.artifact import pack
from ravn.codecs import CodebookCodec, Codec, UniformCodec, decoded
from ravn.metrics import top1_accuracy
from ravn.pipeline import loaded_from, measurement, parameter_count
from ravn.plan import Layer
from ravn.progress import Progress, Silent
from ravn.result import Measurement
from ravn.settings import Settings
from ravn.task import Task

BITS = range(1, 9)

FAMILIES: dict[str, Callable[[int], Sequence[Codec]]] = {
    "uniform": lambda bits: (UniformCodec(bits, per_channel=False), UniformCodec(bits, per_channel=True)),
    "k-means": lambda bits: (CodebookCodec(bits, entropy_coded=False), CodebookCodec(bits)),
}


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


def at_bytes(model: nn.Module, layers: Sequence[Layer], family: str, capacity_bytes: int) -> dict[str, Codec]:
    """The plan of a family with the least squared error of the weights: bits of each layer by exact knapsack.

    Args:
        model: the float network.
        layers: its layers.
        family: "uniform" or "k-means".
        capacity_bytes: the largest allowed sum of payload bytes.

    Raises:
        BudgetError: one bit everywhere is too much.
    """
    choices = [_choices(model, layer, family) for layer in layers]
    selection = solve([c.errors for c in choices], [c.sizes for c in choices], capacity_bytes)
    return {layer.name: c.codecs[i] for layer, c, i in zip(layers, choices, selection, strict=True)}


def measure_baseline(
    task: Task,
    method: str,
    plan: Callable[[Sequence[Layer], int], dict[str, Codec]],
    *,
    limit_bytes: int,
    settings: Settings,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Measurement:
    """Encode a baseline with the same error compensation as ours, and measure its file.

    Args:
        task: the network and its images.
        method: name of the row.
        plan: gives the codec of every layer for the layers and a capacity in payload bytes.
        limit_bytes: the largest allowed file.
        settings: calibration images and seed.
        progress: is told how far the work is.
    """
    start = time.perf_counter()
    progress.stage(method)
    layers = stages.checked_layers(task.model)
    capacity = limit_bytes - stages.floor_of(task, task.model, layers, limit_bytes).overhead_bytes
    inputs = stages.draw_inputs(task, settings)
    codecs = plan(layers, capacity)
    coded = stages.realise(task.model, codecs, capacity, inputs=inputs, progress=progress)
    data = pack(stages.artifact_of(task, coded, "uniform", limit_bytes))
    seconds = time.perf_counter() - start
    test = task.test if task.test is not None else task.validation
    accuracy = top1_accuracy(loaded_from(data, task.model), test, task.transform)
    return measurement(method, accuracy, len(data), parameter_count(task.model), 0, seconds)


def compare(
    task: Task,
    limit_bytes: int,
    settings: Settings,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> list[Measurement]:
    """The rows of uniform 4-bit, and of uniform and k-means in at most `limit_bytes`."""

    def four_bits(layers: Sequence[Layer], _: int) -> dict[str, Codec]:
        """Four bits everywhere."""
        return {layer.name: UniformCodec(4) for layer in layers}

    def fitted(family: str) -> Callable[[Sequence[Layer], int], dict[str, Codec]]:
        """The best plan of a family that fits."""
        return lambda layers, capacity: at_bytes(task.model, layers, family, capacity)

    plans = {
        "uniform 4-bit": (four_bits, 4 * parameter_count(task.model)),
        "uniform, our bytes": (fitted("uniform"), limit_bytes),
        "k-means, our bytes": (fitted("k-means"), limit_bytes),
    }
    return [
        measure_baseline(task, method, plan, limit_bytes=limit, settings=settings, progress=progress)
        for method, (plan, limit) in plans.items()
    ]
