"""The stages of a run, each a function of what the stage before gave."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ravn.allocators.ledger import logged
from ravn.allocators.problem import Allocation, Allocator, Problem, Selection, allocations
from ravn.artifact import Artifact, least_bytes, size_bytes
from ravn.batches import calibration_inputs, first_images
from ravn.batchnorm import canonical, shortened
from ravn.codecs import Codec, Encoded, EntropyCodec, TrellisCodec, decoded
from ravn.codecs.base import matrix_shape
from ravn.codecs.dependent import LONGEST
from ravn.encoding import encode_network, encode_within
from ravn.errors import BudgetError, InputError
from ravn.fidelity import observed
from ravn.layers import set_weights, tied_parameters, weight_layers
from ravn.plan import Layer
from ravn.progress import Progress
from ravn.runtime import counted_bytes
from ravn.scoring import Judge, Workbench, hired, prepare
from ravn.scoring.options import Options, entropy_bytes
from ravn.settings import Settings
from ravn.task import Task
from ravn.training import mixed

CLUSTER_COUNTS = (8, 6, 5, 4, 3, 2)
INDEX_SHARE = 0.75
"""Clusters whose indices alone take more than this share of the budget are merged into fewer."""

SPARE_BITS, MOST_BITS = 4, 23
"""Bits of mantissa of biases and batch norms beyond the bits per weight of the budget, and all that a float32 has."""

MOST_WAITING_BYTES, LEAST_IMAGES = 4 << 30, 32
"""Memory for images that wait at a layer while it is compensated; and the fewest that are looked at all the same."""

MARGIN_BYTES = 32
"""Room for the header bytes that depend on the codes."""


SAME_RATE = 0.475
"""Step of a trellis that takes as many bits as the entropy codec's step of 1."""


@dataclass(frozen=True)
class Coded:
    """A network as codes.

    Args:
        model: the network that holds everything that is not a code: batch norms, biases, buffers.
        codecs: codec of every layer.
        encoded: codes of every layer.
    """

    model: nn.Module
    codecs: dict[str, Codec]
    encoded: dict[str, Encoded]

    def quantized(self) -> nn.Module:
        """The network with the decoded weights."""
        network = copy.deepcopy(self.model).eval()
        set_weights(network, [(name, decoded(e)) for name, e in self.encoded.items()])
        return network


@dataclass(frozen=True)
class Inputs:
    """Unlabelled network inputs, drawn from the training images; the three sets are disjoint.

    Args:
        calibration: for error compensation.
        search: for scoring plans; some or all of them blended with one another.
        holdout: for choosing between finalists; the same.
    """

    calibration: list[Tensor]
    search: list[Tensor]
    holdout: list[Tensor]


def checked_layers(model: nn.Module) -> list[Layer]:
    """The layers of a network that can be compressed.

    Raises:
        InputError: there are none, or a parameter or a buffer holds NaN or infinity.
    """
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"layer {name!r} holds NaN or infinite weights; only finite weights can be compressed")
    layers = weight_layers(model)
    if not layers:
        raise InputError(f"{type(model).__name__} has no parameter of two or more dimensions to compress")
    return layers


def draw_inputs(task: Task, settings: Settings) -> Inputs:
    """Draw the images that calibration, search and holdout see.

    Raises:
        InputError: there are no training images to draw.
    """
    device = torch.device(settings.device)
    counts = (settings.calibration_images, settings.search_images, settings.holdout_images)
    drawn, skip = [], 0
    for count in counts:
        drawn.append(calibration_inputs(task, count, seed=settings.seed, skip=skip, device=device))
        skip += count
    if not drawn[0]:
        raise InputError("there are no training images to draw from; a few hundred are needed, without labels")
    # A data set too small for three disjoint sets shares the first.
    calibration, search, holdout = (batches or drawn[0] for batches in drawn)
    generator = torch.Generator().manual_seed(settings.seed)
    scored = [[mixed(batch, settings.mixing, generator) for batch in batches] for batches in (search, holdout)]
    return Inputs(first_images(calibration, side_by_side(task.model, calibration[0][:1])), *scored)


def side_by_side(model: nn.Module, image: Tensor) -> int:
    """How many images compensation can keep in memory: each has the inputs of two layers waiting, in two networks."""
    leaves = [name for name, module in model.named_modules() if name and not any(module.children())]
    with torch.no_grad(), observed(model, leaves, _size_bytes) as sizes:
        model(image)
    largest = max((int(size) for size in sizes.values()), default=1)
    return max(MOST_WAITING_BYTES // (4 * max(largest, 1)), LEAST_IMAGES)


def _size_bytes(_: str, output: object) -> Tensor:
    return torch.tensor(output.nbytes if isinstance(output, Tensor) else 0)


def artifact_of(task: Task, coded: Coded, allocator: str, limit_bytes: int) -> Artifact:
    """The coded network as the value that a file holds.

    Biases and batch norms need not be finer than the weights beside them: they keep `SPARE_BITS` more than the budget
    has for a weight.
    """
    tied, parameters = tied_parameters(coded.model), dict(coded.model.named_parameters())
    kept = mantissa_bits(coded.model, limit_bytes)
    tensors = {
        name: shortened(tensor, kept) if name in parameters and tensor.is_floating_point() else tensor
        for name, tensor in canonical(coded.model).items()
        if name not in coded.encoded and name not in tied
    }
    return Artifact(task.model_name, task.preprocessing, coded.encoded, coded.codecs, tensors, tied, allocator)


def mantissa_bits(model: nn.Module, limit_bytes: int) -> int:
    """Bits of mantissa that a file of so many bytes keeps of biases and batch norms."""
    rate = 8 * limit_bytes / sum(p.numel() for p in model.parameters())
    return min(math.ceil(rate) + SPARE_BITS, MOST_BITS)


@dataclass(frozen=True)
class Floor:
    """What a file takes in any case.

    Args:
        overhead_bytes: all that is not codes: header, batch norms, biases, buffers.
        smallest_bytes: the smallest file: every weight zero, or the least that a reader believes.
    """

    overhead_bytes: int
    smallest_bytes: int


def floor_of(task: Task, model: nn.Module, layers: Sequence[Layer], limit_bytes: int) -> Floor:
    """Measure the file of a network of zeros."""
    codecs: dict[str, Codec] = {}
    for number, layer in enumerate(layers):
        peak = float(model.get_parameter(layer.name).detach().abs().max())
        # Steps of as many digits as real ones have: they stand in the header.
        codecs[layer.name] = EntropyCodec((2 + number / 7) * max(peak, 1e-6), spectral=True)
    encoded = encode_network(model, codecs, [])
    artifact = artifact_of(task, Coded(model, codecs, encoded), "uniform", limit_bytes)
    overhead = size_bytes(artifact) - sum(e.size_bytes for e in encoded.values()) + MARGIN_BYTES
    zeros = sum(entropy_bytes(torch.zeros(layer.shape, dtype=torch.int64)) for layer in layers)
    return Floor(overhead, max(overhead + zeros, least_bytes(artifact)))


def smallest_limit(task: Task, layers: Sequence[Layer]) -> int:
    """The smallest budget in bytes that a file can meet; a larger budget keeps more bits of what is not a code."""
    least, needed = 0, 1
    while least < needed:
        least, needed = needed, floor_of(task, task.model, layers, needed).smallest_bytes
    return least


def workbench(
    task: Task,
    model: nn.Module,
    layers: Sequence[Layer],
    capacities: Sequence[int],
    *,
    inputs: Inputs,
    settings: Settings,
    progress: Progress,
) -> Workbench:
    """Prepare all options and the judges, once for all capacities."""
    capacity_bytes = min(capacities)

    def prepared(clusters: int) -> list[Options]:
        """Options under so many clusters per layer."""
        return prepare(
            model,
            layers,
            inputs.calibration,
            clusters=clusters,
            capacity_bytes=capacity_bytes,
            fixed_rate=settings.fixed_rate,
            largest_bytes=max(capacities),
            progress=lambda names: progress.track(names, "prepare", len(layers)),
        )

    options = prepared(settings.clusters)
    for fewer in (c for c in CLUSTER_COUNTS if c < settings.clusters):
        if sum(o.base_bytes for o in options) <= INDEX_SHARE * capacity_bytes:
            break
        options = prepared(fewer)
    search = _judge(task, layers, inputs.search, settings)
    return Workbench(model, layers, options, search, holdout_judge(task, layers, inputs, settings))


def holdout_judge(task: Task, layers: Sequence[Layer], inputs: Inputs, settings: Settings) -> Judge:
    """Measures the loss of this run on images that no search learns from."""
    return _judge(task, layers, inputs.holdout, settings)


def _judge(task: Task, layers: Sequence[Layer], images: list[Tensor], settings: Settings) -> Judge:
    names = [layer.name for layer in layers]
    loss = {"fidelity": settings.fidelity, "temperature": settings.temperature}
    return Judge(task.model, names, images, settings.trade_off, **loss)


def search(
    bench: Workbench,
    allocator: Allocator,
    capacities: Sequence[int],
    *,
    settings: Settings,
    log: Path | None,
    progress: Progress,
) -> tuple[list[Allocation], list[Problem]]:
    """Let the allocator decide, for every capacity; every evaluation is logged before the next begins."""
    problems = [bench.problem(capacity, settings.evaluations) for capacity in capacities]
    most = settings.evaluations * len(problems)
    moved = iter(progress.track(range(most), "search", most))

    def loss(selection: Selection) -> float:
        """Score a plan, and move the bar."""
        next(moved, None)
        return scored.loss(selection)

    purse = replace(problems[0], evaluations=most)
    with hired(bench, purse, settings.workers, device=settings.device, told=progress.stage) as scored:
        watched = replace(scored, loss=loss)
        if log is not None:
            key = f"seed {settings.seed}, temperature {settings.temperature:g}, mixing {settings.mixing:g}"
            watched = logged(watched, log, key=key)
        asked = [
            replace(
                problem,
                loss=watched.loss,
                holdout_loss=watched.holdout_loss,
                announce=watched.announce,
                announce_holdout=watched.announce_holdout,
            )
            for problem in problems
        ]
        return allocations(allocator, asked), problems


def realise(
    model: nn.Module,
    codecs: Mapping[str, Codec],
    capacity_bytes: int,
    *,
    inputs: Inputs,
    progress: Progress,
    fixed_rate: bool = False,
) -> Coded:
    """Encode a plan with error compensation, layer after layer, into the capacity.

    Args:
        model: the float network.
        codecs: the plan.
        capacity_bytes: the largest allowed sum of the layers' bytes.
        inputs: for the compensation.
        progress: is told how far the work is.
        fixed_rate: the capacity is one of codes of fixed length.
    """

    def encode(used: Mapping[str, Codec], rate_price: float) -> dict[str, Encoded]:
        """Encode all layers."""
        return encode_network(
            model,
            used,
            inputs.calibration,
            rate_price=rate_price,
            progress=lambda names: progress.track(names, "encode", len(used)),
        )

    counted = partial(counted_bytes, fixed=fixed_rate)
    return Coded(model, *encode_within(encode, codecs, capacity_bytes, size_of=counted))


def best_of(
    task: Task,
    model: nn.Module,
    plans: Sequence[Mapping[str, Codec]],
    capacity_bytes: int,
    *,
    inputs: Inputs,
    settings: Settings,
    progress: Progress,
) -> tuple[int, Coded]:
    """Realise several plans, and keep the one of least loss on images that no search learns from.

    Args:
        task: the float network that the loss compares with.
        model: network that holds the weights to be quantized.
        plans: candidates; one alone is not judged.
        capacity_bytes: the largest allowed sum of the layers' bytes.
        inputs: for the compensation, and for the judge.
        settings: of the loss, and of what counts as bytes.
        progress: is told how far the work is.

    Returns:
        Which plan it is, and its codes.
    """
    fixed = settings.fixed_rate
    coded = [realise(model, p, capacity_bytes, inputs=inputs, progress=progress, fixed_rate=fixed) for p in plans]
    if len(coded) == 1:
        return 0, coded[0]
    judge = holdout_judge(task, checked_layers(task.model), inputs, settings)
    losses = [judge.loss(candidate.quantized()) for candidate in coded]
    number = losses.index(min(losses))
    return number, coded[number]


def refined(
    coded: Coded, model: nn.Module, capacity_bytes: int, *, judge: Judge, inputs: Inputs, progress: Progress
) -> Coded:
    """The same plan under the trellis, which makes less error in the same bytes, if the judge agrees.

    It is too slow for the search, and its codes can't be trained; rows that it can't compensate stay as they are.
    """
    codecs = {
        name: TrellisCodec(SAME_RATE * codec.step, spectral=codec.spectral)
        if isinstance(codec, EntropyCodec) and matrix_shape(coded.encoded[name].shape)[1] <= LONGEST
        else codec
        for name, codec in coded.codecs.items()
    }
    if codecs == coded.codecs:
        return coded
    try:
        finer = realise(model, codecs, capacity_bytes, inputs=inputs, progress=progress)
    except BudgetError:  # its heads are a few bytes longer
        return coded
    return min((finer, coded), key=lambda c: judge.loss(c.quantized()))


def ensure_reachable(smallest_bytes: int, limit_bytes: int) -> None:
    """Refuse a budget that even the smallest file exceeds.

    Raises:
        BudgetError: with the size of the smallest file.
    """
    if smallest_bytes > limit_bytes:
        raise BudgetError(
            f"a budget of {limit_bytes:,} bytes is below the smallest possible file;"
            f" give at least {smallest_bytes:,} bytes",
            smallest_bytes,
        )
