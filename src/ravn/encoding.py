"""A plan becomes codes: layer after layer, each making up for the errors of those before it."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor, nn

from ravn.calibration import Moments, weight_moments
from ravn.codecs import Codec, Encoded, Grid, SteppedCodec, TrellisCodec, decoded, nearest
from ravn.codecs.base import as_matrix
from ravn.codecs.rounding import cheapest, compensate
from ravn.errors import BudgetError, InputError
from ravn.layers import set_weights

RATE_PRICE = 0.1
"""Price of a bit in squared level spacings: 0.1 measured best at 1 to 3 bits (docs/experiments.md)."""


CHUNK = 1 << 18
"""Weights that are rounded at a time: bounds the memory."""


def is_spectral(codec: Codec) -> bool:
    """Whether a codec quantizes kernels as spectra."""
    return isinstance(codec, SteppedCodec) and codec.spectral


def spacing(weight: Tensor, grid: Grid) -> float:
    """Mean distance between the neighbouring levels of a weight, over all weights; the step of an equal-step grid."""
    if grid.levels.shape[1] < 2:
        return 0.0
    codes = nearest(weight, grid).clamp_max(grid.levels.shape[1] - 2)
    return float((grid.values(codes + 1) - grid.values(codes)).mean())


def priced_rounding(weight: Tensor, grid: Grid, *, price: float) -> Tensor:
    """Round by distortion + price * bits without looking at inputs; shapes as in `compensate`."""
    columns = weight.shape[1]
    many = max(CHUNK // max(columns, 1), 1)
    codes = torch.empty(weight.shape, dtype=torch.int64, device=weight.device)
    for at in range(0, len(weight), many):
        part = slice(at, at + many)
        apart = grid
        if len(grid.levels) > 1:
            apart = Grid(*(table[part].repeat_interleave(columns, 0) for table in (grid.levels, grid.lengths)))
        classes = None if grid.classes is None else grid.classes[part].reshape(-1)
        codes[part] = cheapest(weight[part].reshape(-1), apart, price, classes).reshape(-1, columns)
    return codes


def encode_layer(weight: Tensor, codec: Codec, moments: Moments | None, *, rate_price: float = RATE_PRICE) -> Encoded:
    """Encode one weight, compensated where the moments of its inputs are known.

    Args:
        weight: float weight, any shape.
        codec: how it is stored.
        moments: of the layer's inputs, or None for rounding without compensation.
        rate_price: price of a bit in squared level spacings.
    """
    matrix = as_matrix(weight)
    if moments is None:
        curved = None
    else:
        matrix = moments.target(matrix)
        seen = moments.analysed(tuple(weight.shape)) if is_spectral(codec) else moments
        curved = seen.curvature(by_energy=not isinstance(codec, TrellisCodec))

    def rounding(values: Tensor, grid: Grid) -> Tensor:
        """Round with or without compensation, bits priced."""
        if isinstance(codec, TrellisCodec):
            # Either quantizer has every other level.
            return codec.quantize(values, grid, price=rate_price * (2 * codec.step) ** 2, curvature=curved)
        price = rate_price * spacing(values, grid) ** 2
        if curved is None:
            return priced_rounding(values, grid, price=price)
        return compensate(values, grid, curvature=curved, lagrangian=price)

    encoded = codec.encode(matrix.reshape(weight.shape), rounding=rounding)
    return replace(encoded, dtype=str(weight.dtype).removeprefix("torch."))


def encode_decided(weight: Tensor, codec: Codec, decided: Tensor) -> Encoded:
    """Encode one weight whose codes are decided; where a codec has no step, its levels decide them.

    Args:
        weight: what the codec fits its tables to, any shape.
        codec: how it is stored.
        decided: the weight as it was quantized, same shape; on the levels of a codec with a step.
    """
    if not isinstance(codec, SteppedCodec):
        return encode_layer(weight, codec, None)
    values = as_matrix(codec.analysed(decided.float()))
    return codec.encode(weight, rounding=lambda _, grid: nearest(values, grid))


def encode_network(
    model: nn.Module,
    codecs: Mapping[str, Codec],
    batches: Sequence[Tensor],
    *,
    rate_price: float = RATE_PRICE,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Encoded]:
    """Encode all layers in the order of the plan, each on the inputs that the already quantized network gives it.

    Args:
        model: the float network; it is not changed.
        codecs: codec of every layer, by name, in the order of the network.
        batches: unlabelled network inputs; without any, layers are rounded without compensation.
        rate_price: price of a bit in squared level spacings.
        progress: wraps the loop over layers.
    """
    quantized = copy.deepcopy(model).eval()
    result: dict[str, Encoded] = {}
    moved = iter(progress(codecs))
    with closing(weight_moments(quantized, model, list(codecs), batches)) as layers:
        for name, moments in layers:
            next(moved, None)
            result[name] = encode_layer(model.get_parameter(name), codecs[name], moments, rate_price=rate_price)
            set_weights(quantized, [(name, decoded(result[name]))])
    next(moved, None)
    return {name: result[name] for name in codecs}


def coarser(codec: Codec, coarseness: float) -> Codec:
    """The codec with its step multiplied by 2^coarseness; codecs without a step stay as they are."""
    return replace(codec, step=codec.step * 2.0**coarseness) if isinstance(codec, SteppedCodec) else codec


def encode_within(
    encode: Callable[[Mapping[str, Codec], float], dict[str, Encoded]],
    codecs: Mapping[str, Codec],
    capacity_bytes: int,
    *,
    passes: int = 6,
    tolerance: float = 0.002,
    size_of: Callable[[Encoded], int] = lambda encoded: encoded.size_bytes,
) -> tuple[dict[str, Codec], dict[str, Encoded]]:
    """Encode so that the payloads fill the capacity and never exceed it.

    One number is solved for by the secant method, the coarseness t, where t = 0 is the plan as it
    stands. Steps are multiplied by 2^t, and with them the price of a bit by 4^t, because it is in
    squared level spacings; where a codec has no step, the rate price itself is multiplied by 4^t.

    Args:
        encode: encodes all layers for given codecs and rate price.
        codecs: the plan.
        capacity_bytes: the largest allowed sum of the layers' bytes.
        passes: calls of `encode` that try to fill the capacity; later ones only make sure that the
            bytes fit.
        tolerance: share of the capacity that may stay unused.
        size_of: what a layer takes of the capacity, in bytes.

    Returns:
        The codecs that were used, and their encoded layers.

    Raises:
        BudgetError: the codes don't get small enough.
    """
    best: tuple[int, dict[str, Codec], dict[str, Encoded]] | None = None
    target = (1 - tolerance / 2) * capacity_bytes
    tried: list[tuple[float, int]] = []
    coarseness = 0.0
    stepped = all(isinstance(codec, SteppedCodec) for codec in codecs.values())
    for attempt in range(passes + 20):
        used = {name: coarser(codec, coarseness) for name, codec in codecs.items()}
        try:
            encoded = encode(used, RATE_PRICE if stepped else RATE_PRICE * 4.0**coarseness)
        except InputError:
            if best is None:
                raise
            return best[1], best[2]  # steps this fine have too many levels: the capacity can't be filled
        size = sum(map(size_of, encoded.values()))
        if size <= capacity_bytes and (best is None or size > best[0]):
            best = (size, used, encoded)
        stuck = bool(tried) and tried[-1][1] == size <= capacity_bytes
        if best and (stuck or attempt >= passes or best[0] >= (1 - tolerance) * capacity_bytes):
            return best[1], best[2]
        tried.append((coarseness, size))
        coarseness = next_coarseness(tried, target)
    smallest = min(size for _, size in tried)
    raise BudgetError(
        f"the layers don't fit into {capacity_bytes} bytes; the smallest codes tried take {smallest}",
        smallest,
    )


def next_coarseness(tried: Sequence[tuple[float, int]], target: float) -> float:
    """Where to look next for the coarseness at which a size is met.

    A secant step in log2 of the size, its slope kept between sane limits; or the middle, where the step would leave the
    gap between the coarsest that was too large and the finest that was not.

    Args:
        tried: coarseness and size so far, the last one last.
        target: the size that is wanted.
    """
    (t, size), slope = tried[-1], -0.6
    if len(tried) > 1 and tried[-2][0] != t:
        slope = _log_ratio(size, tried[-2][1]) / (t - tried[-2][0])
    step = _log_ratio(target, size) / min(max(slope, -3.0), -0.1)
    guess = t + min(max(step, -2.0), 2.0)
    low = max((t for t, size in tried if size > target), default=-math.inf)
    high = min((t for t, size in tried if size <= target), default=math.inf)
    inside = low < guess < high or low >= high
    return guess if inside or math.isinf(high - low) else (low + high) / 2


def _log_ratio(size: float, other: float) -> float:
    """Binary logarithm of a ratio of sizes, below one byte counting as one."""
    return math.log2(max(size, 1)) - math.log2(max(other, 1))
