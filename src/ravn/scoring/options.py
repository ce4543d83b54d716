"""What can be chosen: the quantized weights of every layer under every option, prepared once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ravn.allocators.problem import Choice, Unit
from ravn.calibration import Moments
from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, Grid, decoded, nearest
from ravn.codecs.base import as_matrix
from ravn.codecs.cluster import MAX_BITS
from ravn.codecs.entropy_coder import MAX_SYMBOLS
from ravn.codecs.kmeans import boundaries, kmeans
from ravn.codecs.rounding import Curvature, compensate
from ravn.codecs.spectrum import analysis
from ravn.encoding import RATE_PRICE, encode_layer, priced_rounding
from ravn.runtime import counted_bytes

STEP_EXPONENTS = tuple(k / 4 for k in range(8, -9, -1))
"""Steps on offer, as log2 of their ratio to the step in the middle: quarter-bit spacing."""

MOST_CELLS = 1 << 22
"""Numbers that the tables of levels of one sweep may hold: 16 MiB of levels, and as much of their prices."""


def step_exponents(octaves: float) -> tuple[float, ...]:
    """Steps on offer for several budgets, as log2 of their ratio to the middle of the smallest one.

    Args:
        octaves: log2 of the ratio of the steps that fill the smallest and the largest budget.
    """
    return STEP_EXPONENTS + tuple(STEP_EXPONENTS[-1] - k / 4 for k in range(1, math.ceil(4 * octaves) + 1))


@dataclass(frozen=True)
class Options:
    """The quantized weights of one layer under every choice of its units.

    Args:
        units: one unit (the layer), or one per cluster.
        codecs: codec of the layer for every choice; for clusters, codec `b` gives every cluster b
            bits.
        weights: quantized weights, shape (choices, *weight shape); for clusters the float weight,
            shape (1, *weight shape).
        wanted: what is quantized, of the weight's shape: the float weight, corrected for errors of the layers before.
        owner: cluster of every weight, of the weight's shape; empty where the layer is one unit.
        base_bytes: bytes that no choice changes.
        levels: for clusters, their levels at b bits, shape (clusters, 2^b), for every b.
        middle: the step around which those on offer lie.
    """

    units: tuple[Unit, ...]
    codecs: tuple[Codec, ...]
    weights: Tensor
    wanted: Tensor
    owner: Tensor
    base_bytes: int
    levels: tuple[Tensor, ...] = ()
    middle: float = 1.0

    def weight(self, choices: Sequence[int]) -> Tensor:
        """The layer's weight for one choice per unit."""
        if not self.levels:
            return self.weights[choices[0]]
        levels = torch.cat([self.levels[bits][cluster] for cluster, bits in enumerate(self._bits(choices))])[None]
        grid = Grid(levels, torch.zeros_like(levels))
        return grid.values(nearest(self.weights[0], grid))

    def middling(self) -> Tensor:
        """The layer's weight at the step nearest to the middle."""
        distances = [abs(octaves) for octaves in self.fineness()[0]]
        return self.weights[distances.index(min(distances))]

    def fineness(self) -> list[list[float]]:
        """What choices of different units share: bits of codes, octaves of a step below the middle; one row each."""
        if self.levels:
            return [[choice.bits for choice in unit.choices] for unit in self.units]
        octaves = [
            round(-math.log2(codec.step / self.middle), 6) for codec in self.codecs if isinstance(codec, EntropyCodec)
        ]
        return [octaves or [float(codec.bits) for codec in self.codecs if isinstance(codec, CodebookCodec)]]

    def codec(self, choices: Sequence[int]) -> Codec:
        """The codec that stores the layer under one choice per unit."""
        return ClusterCodec(self._bits(choices)) if self.levels else self.codecs[choices[0]]

    def _bits(self, choices: Sequence[int]) -> tuple[int, ...]:
        return tuple(round(u.choices[i].bits) for u, i in zip(self.units, choices, strict=True))


def entropy_bytes(codes: Tensor) -> int:
    """Bytes of codes at their entropy, with the table and the head of a stream."""
    counts = torch.bincount((codes - codes.min()).flatten()).double()
    shares = counts[counts > 0] / codes.numel()
    return math.ceil(float(-(shares * shares.log2()).sum()) * codes.numel() / 8) + len(counts) + 10


def layer_options(
    name: str,
    weight: Tensor,
    moments: Moments | None,
    step: float,
    traits: tuple[float, ...],
    *,
    exponents: Sequence[float] = STEP_EXPONENTS,
) -> Options:
    """A layer as one unit: points on its rate-distortion curve, at steps around `step`, compensated.

    Args:
        name: name of the weight.
        weight: float weight, any shape.
        moments: of the layer's inputs, or None for plain rounding.
        step: the step in the middle.
        traits: static description of the layer for a learned policy.
        exponents: steps on offer, coarsest first, as log2 of their ratio to `step`.
    """
    target = as_matrix(weight) if moments is None else moments.target(as_matrix(weight))
    wanted = target.reshape(weight.shape)
    coefficients = analysis(wanted)
    matrix = as_matrix(coefficients)
    finest = 4 * float(matrix.abs().max()) / MAX_SYMBOLS
    codecs = [EntropyCodec(step * 2.0**e, spectral=True) for e in exponents if step * 2.0**e >= finest]
    moments = None if moments is None else moments.analysed(tuple(weight.shape))
    codes, values = _quantize_all(matrix, [c.grid(matrix) for c in codecs], codecs, moments)
    sizes = [len(codec.pack(c, codec.shaped_grid(coefficients))) for codec, c in zip(codecs, codes, strict=True)]
    kept = [i for i in range(len(sizes)) if sizes[i] > max(sizes[:i], default=0)]
    choices = tuple(Choice(8 * sizes[i] / weight.numel(), sizes[i], _damage(matrix, values[i], moments)) for i in kept)
    unit = Unit(name, name, weight.numel(), traits, choices)
    stacked = torch.stack([codecs[i].synthesised(values[i].reshape(weight.shape)) for i in kept])
    return Options((unit,), tuple(codecs[i] for i in kept), stacked, wanted, torch.zeros(0), 0, middle=step)


def codebook_options(name: str, weight: Tensor, moments: Moments | None, traits: tuple[float, ...]) -> Options:
    """A layer as one unit: k-means codebooks of 1 to 8 bits, compensated, in the bytes of codes of fixed length.

    At equal bytes of such codes they do as well as equal steps, whose many levels need codes of two lengths; and one
    look-up is all that it takes to read them.

    Args:
        name: name of the weight.
        weight: float weight, any shape.
        moments: of the layer's inputs in the float network, or None for plain rounding.
        traits: static description of the layer for a learned policy.
    """
    matrix, codecs = as_matrix(weight), [CodebookCodec(b, entropy_coded=False) for b in range(1, MAX_BITS + 1)]
    coded = [encode_layer(weight, codec, moments) for codec in codecs]
    sizes = [counted_bytes(encoded, fixed=True) for encoded in coded]
    values = [decoded(encoded).to(matrix) for encoded in coded]
    kept = [i for i in range(len(sizes)) if sizes[i] > max(sizes[:i], default=0)]
    damages = [_damage(matrix, as_matrix(value), moments) for value in values]
    choices = tuple(Choice(8 * sizes[i] / weight.numel(), sizes[i], damages[i]) for i in kept)
    unit = Unit(name, name, weight.numel(), traits, choices)
    stacked = torch.stack([values[i] for i in kept])
    return Options((unit,), tuple(codecs[i] for i in kept), stacked, weight.float(), torch.zeros(0), 0)


def cluster_options(name: str, weight: Tensor, clusters: int, traits: tuple[float, ...]) -> Options:
    """A layer as one unit per k-means cluster (Eq. 1): bit-widths 0 to 8 for each (Eq. 2).

    Args:
        name: name of the weight.
        weight: float weight, any shape.
        clusters: M; where fewer can be told apart, there are fewer.
        traits: static description of the layer for a learned policy.
    """
    matrix = as_matrix(weight)
    owner = _partition(matrix, clusters)
    clusters = int(owner.max()) + 1
    codecs = [ClusterCodec((b,) * clusters) for b in range(MAX_BITS + 1)]
    grids = [c.grid(matrix) for c in codecs]
    codes = [nearest(matrix, g) for g in grids]
    values = [g.values(c) for g, c in zip(grids, codes, strict=True)]
    power = float(matrix.square().sum().clamp_min(1e-30))
    units = []
    for m in range(clusters):
        inside = owner == m
        choices: list[Choice] = []
        for bits in range(MAX_BITS + 1):
            size = entropy_bytes(codes[bits][inside]) + 2 if bits else 4
            damage = float((values[bits] - matrix)[inside].square().sum()) / power
            if not choices or size > choices[-1].size_bytes:
                choices.append(Choice(float(bits), size, damage))
        place = (m + 0.5) / clusters
        share = float(inside.float().mean())
        units.append(Unit(f"{name}#{m}", name, int(inside.sum()), (*traits, place, share), tuple(choices)))
    levels = tuple(g.levels.reshape(clusters, -1) for g in grids)
    floats, owner = matrix.reshape(1, *weight.shape), owner.reshape(weight.shape)
    return Options(tuple(units), tuple(codecs), floats, floats[0], owner, entropy_bytes(owner), levels)


def _partition(matrix: Tensor, clusters: int) -> Tensor:
    """The cluster of every weight, none empty: neighbouring float32 values may share a side of their border."""
    owner = torch.bucketize(matrix, boundaries(kmeans(matrix.flatten(), clusters)))
    occupied = len(owner.unique())
    return owner if occupied == clusters else _partition(matrix, occupied)


def _quantize_all(
    matrix: Tensor, grids: Sequence[Grid], codecs: Sequence[EntropyCodec], moments: Moments | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Codes and values of a matrix on several grids, coarsest first, as many as memory allows in one sweep."""
    if moments is None:
        plain = [priced_rounding(matrix, g, price=RATE_PRICE * c.step**2) for g, c in zip(grids, codecs, strict=True)]
        return plain, [g.values(c) for g, c in zip(grids, plain, strict=True)]
    curved = moments.curvature()
    codes: list[Tensor] = []
    while len(codes) < len(grids):
        many = 1
        while (
            len(codes) + many < len(grids) and _cells(matrix, grids[len(codes) : len(codes) + many + 1]) <= MOST_CELLS
        ):
            many += 1
        part = slice(len(codes), len(codes) + many)
        codes += _one_sweep(matrix, grids[part], [RATE_PRICE * codec.step**2 for codec in codecs[part]], curved)
    return codes, [g.values(c) for g, c in zip(grids, codes, strict=True)]


def _cells(matrix: Tensor, grids: Sequence[Grid]) -> int:
    """Numbers that tables of these grids for every row hold, all padded to the largest."""
    return len(matrix) * len(grids) * max(g.levels.shape[1] for g in grids)


def _one_sweep(matrix: Tensor, grids: Sequence[Grid], prices: Sequence[float], curved: Curvature) -> list[Tensor]:
    """Codes of a matrix on several grids, all rounded in one sweep over the columns."""
    if len(grids) == 1:
        return [compensate(matrix, grids[0], curvature=curved, lagrangian=prices[0])]
    groups, (rows, columns), many = len(curved.factor), matrix.shape, len(grids)
    width = max(g.levels.shape[1] for g in grids)
    levels = torch.stack([_padded(g.levels[0], width, 1e6) for g in grids])
    lengths = torch.stack([_padded(g.lengths[0], width, 0.0) for g in grids])

    def spread(per_grid: Tensor) -> Tensor:
        """Repeat a value of every grid for the rows of every group: order (group, grid, row)."""
        return per_grid.repeat_interleave(rows // groups, 0).repeat(groups, *[1] * (per_grid.dim() - 1))

    stacked = matrix.reshape(groups, 1, rows // groups, columns).expand(-1, many, -1, -1)
    grid = Grid(spread(levels), spread(lengths))
    priced = spread(torch.tensor(prices, device=matrix.device))
    codes = compensate(stacked.reshape(-1, columns), grid, curvature=curved, lagrangian=priced)
    return list(codes.reshape(groups, many, rows // groups, columns).transpose(0, 1).reshape(many, rows, columns))


def _padded(values: Tensor, width: int, step: float) -> Tensor:
    """Lengthen a vector; extra levels lie far away, in ascending order, where nothing is nearest to them."""
    extra = torch.arange(1, width - len(values) + 1, device=values.device) * step
    return torch.cat([values, values[-1] + extra])


def _damage(matrix: Tensor, values: Tensor, moments: Moments | None) -> float:
    """Energy of the layer's output error relative to the output; of the weight error where inputs are unknown."""
    error = values - matrix
    if moments is None:
        return float(error.square().sum() / matrix.square().sum().clamp_min(1e-30))
    groups, columns, _ = moments.second.shape

    def energy(w: Tensor) -> Tensor:
        """Energy of the outputs of a weight."""
        blocks = w.reshape(groups, -1, columns)
        return ((blocks @ moments.second) * blocks).sum()

    return float(energy(error) / energy(matrix).clamp_min(1e-30))
