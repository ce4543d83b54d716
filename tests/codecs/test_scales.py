"""Weights whose channels and positions differ in scale cost what their entropy given the scale says."""

import math
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from ravn.codecs import EntropyCodec, decoded, nearest
from ravn.codecs.base import Grid, as_matrix
from ravn.codecs.entropy import ScaledGrid
from ravn.codecs.rounding import cheapest
from ravn.codecs.scales import REACH, Scales, best_fit, fitted_scales
from ravn.codecs.shapes import SHAPES, masses, power, tables
from ravn.encoding import priced_rounding
from ravn.errors import ArtifactError


def separable(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    """Gaussian weights with a scale of their own for every side."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    for axis, side in enumerate(shape):
        scales = (spread * torch.randn(side, generator=generator)).exp2()
        weight = weight * scales.reshape([-1 if axis == a else 1 for a in range(len(shape))])
    return weight


def plain_bytes(codec: EntropyCodec, weight: Tensor) -> int:
    matrix = as_matrix(weight)
    grid = codec.grid(matrix)
    return len(codec.pack(nearest(matrix, grid), grid))


def test_tables_are_the_same_everywhere_and_for_ever() -> None:
    widths = np.arange(-20, 40, 3)
    found = [table for s in SHAPES for zero in (-3, 0, 5) for table in tables(widths, s, zero, -6, 14)]
    assert len(set(found)) > 100
    assert zlib.crc32(b"".join(found)) == CHECKSUM


CHECKSUM = 1978249694


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [-9, 0, 7, 30])
def test_masses_are_integrals_of_the_density(shape: int, width: int) -> None:
    exponent = 1 + shape / 2
    scale = 2 ** (width / 4)
    assert power(width) == pytest.approx(scale)
    found = masses(width, shape, -3, 9)
    points = (np.arange(8) - 3.5) / 8
    expected = [sum(math.exp(-((abs(k + p) / scale) ** exponent)) for p in points) for k in range(-3, 6)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    "shape", [(32, 16, 3, 3), (64, 48), (40, 1, 5, 5), (24, 12, 7), (12, 8, 3, 3, 3), (300, 16), (128, 64, 1, 1)]
)
@pytest.mark.parametrize("step", [0.2, 0.5, 3.0])
def test_scales_save_bytes_and_lose_nothing(shape: tuple[int, ...], step: float) -> None:
    weight, codec = separable(*shape), EntropyCodec(step)
    encoded = codec.encode(weight)
    assert encoded.size_bytes < 0.9 * plain_bytes(codec, weight)
    levels = codec.grid(as_matrix(weight))
    assert torch.equal(as_matrix(decoded(encoded)), levels.values(nearest(as_matrix(weight), levels)))


@pytest.mark.parametrize("shape", [(5,), (4, 4), (6, 300), (1, 1, 3, 3), (200, 2)])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_smaller_form_is_written(shape: tuple[int, ...], spread: float) -> None:
    weight, codec = separable(*shape, spread=spread), EntropyCodec(0.4)
    assert codec.encode(weight).size_bytes <= plain_bytes(codec, weight)


def test_dead_channels_and_outliers_are_no_danger() -> None:
    weight = separable(32, 16, 3, 3)
    weight[3] = 0
    weight[:, 5] = 0
    weight[7, 7, 1, 1] = 1e3
    codec = EntropyCodec(0.5)
    levels = codec.grid(as_matrix(weight))
    assert torch.equal(as_matrix(decoded(codec.encode(weight))), levels.values(nearest(as_matrix(weight), levels)))
    scales = fitted_scales(weight)
    assert max(np.abs(side).max() for side in (scales.outputs, scales.inputs, scales.positions)) <= REACH


def test_scales_follow_the_weight() -> None:
    scales = fitted_scales(
        separable(64, 32, 3, 3, spread=0.0).mul_(torch.tensor([1.0, 8.0]).repeat(32)[:, None, None, None])
    )
    assert np.abs(scales.inputs).max() <= 1
    assert set((scales.outputs[1::2] - scales.outputs[::2]).tolist()) <= {11, 12, 13}


def test_the_fit_is_near_the_entropy_of_what_it_models() -> None:
    classes = np.arange(0, 12, 2)
    exact = [masses(c + 3, 1, -30, 61) for c in classes]
    counts = np.stack([np.round(1e5 * mass / mass.sum()) for mass in exact]).astype(np.int64)
    shares = counts / counts.sum(1, keepdims=True)
    entropy = -(counts * np.log2(np.where(shares > 0, shares, 1))).sum()
    assert best_fit(classes, counts, -30).bits < 1.001 * entropy


def test_rounding_pays_the_price_of_each_weights_own_class() -> None:
    weight = separable(32, 16, 3, 3)
    grid = EntropyCodec(0.5).shaped_grid(weight)
    assert isinstance(grid, ScaledGrid)
    assert grid.classes is not None
    matrix = as_matrix(weight)
    codes = priced_rounding(matrix, grid, price=0.05)
    for number in range(len(grid.lengths)):
        mine = grid.classes == number
        alone = Grid(grid.levels, grid.lengths[number : number + 1])
        assert torch.equal(codes[mine], cheapest(matrix[mine], alone, 0.05))


def test_a_payload_whose_positions_do_not_fit_is_refused() -> None:
    payload = bytearray(EntropyCodec(0.5).encode(separable(32, 16, 3, 3)).payload)
    assert payload[6:8] == b"\0\0"
    for positions in (0, 5, 7, 145):
        payload[10:12] = positions.to_bytes(2, "little")
        with pytest.raises(ArtifactError):
            EntropyCodec.unpack(bytes(payload), 32, 144)
    for length in range(0, len(payload), 97):
        with pytest.raises(ArtifactError):
            EntropyCodec.unpack(bytes(payload[:length]), 32, 144)


def test_classes_add_up() -> None:
    scales = Scales(np.array([1, -2]), np.array([0, 3]), np.array([-1, 0, 1]))
    expected = [[o + i + p + 3 * REACH for i in (0, 3) for p in (-1, 0, 1)] for o in (1, -2)]
    assert scales.classes.tolist() == expected
