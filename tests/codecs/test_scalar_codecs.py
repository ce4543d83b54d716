"""The other codecs against what theory says about a Gaussian source."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from ravn.codecs import CodebookCodec, Codec, EntropyCodec, UniformCodec
from ravn.encoding import RATE_PRICE, priced_rounding
from ravn.errors import InputError

MAX_UNIFORM = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}
"""Least squared error of an equal-step quantizer of a unit Gaussian (J. Max, 1960)."""
MAX_NONUNIFORM = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002499}
"""The same for free levels."""


@pytest.fixture(scope="module")
def gaussian() -> Tensor:
    source = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    return (source - source.mean()) / source.std()


def squared_error(codec: Codec, weight: Tensor) -> float:
    return float((codec.decode(codec.encode(weight)) - weight).square().mean())


@pytest.mark.parametrize("bits", MAX_UNIFORM)
def test_uniform_steps_are_those_of_max(gaussian: Tensor, bits: int) -> None:
    assert squared_error(UniformCodec(bits, per_channel=False), gaussian) == pytest.approx(MAX_UNIFORM[bits], rel=0.03)


@pytest.mark.parametrize("bits", MAX_NONUNIFORM)
def test_codebooks_are_those_of_lloyd_and_max(gaussian: Tensor, bits: int) -> None:
    assert squared_error(CodebookCodec(bits), gaussian) == pytest.approx(MAX_NONUNIFORM[bits], rel=0.02)


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_entropy_coding_stays_near_the_rate_distortion_function(gaussian: Tensor, rate: int) -> None:
    step = math.sqrt(2 * math.pi * math.e) * 2.0**-rate
    encoded = EntropyCodec(step).encode(gaussian, rounding=partial(priced_rounding, price=RATE_PRICE * step**2))
    true_rate = 8 * encoded.size_bytes / gaussian.numel()
    error = float((EntropyCodec.decode(encoded) - gaussian).square().mean())
    assert true_rate == pytest.approx(rate, abs=0.15)
    assert true_rate - math.log2(1 / error) / 2 <= 0.27


@pytest.mark.parametrize("step", [1e-3, 0.1, 2.0, 50.0])
def test_an_entropy_coded_weight_is_at_most_half_a_step_away(gaussian: Tensor, step: float) -> None:
    weight = gaussian[:4]
    error = EntropyCodec(step).decode(EntropyCodec(step).encode(weight)) - weight
    assert error.abs().max() <= step / 2 * (1 + 1e-4)


@pytest.mark.parametrize(
    ("step", "weight", "message"),
    [
        (1e-6, 1.0, "more than 65536 levels"),
        (1e-30, 1e30, "more than 65536 levels"),
        (2.1e38, 3.3e38, "beyond float32"),
    ],
)
def test_steps_that_do_not_fit_the_weight_are_refused(step: float, weight: float, message: str) -> None:
    for sign in (1, -1):
        with pytest.raises(InputError, match=message):
            EntropyCodec(step).encode(torch.tensor([sign * weight, 0.0]))


def test_levels_reach_up_to_the_largest_float() -> None:
    weight = torch.tensor([-3e38, 3e38, 0.0])
    assert torch.equal(EntropyCodec(3e38).decode(EntropyCodec(3e38).encode(weight)), weight)


@pytest.mark.parametrize("codec", [UniformCodec(1), UniformCodec(4), UniformCodec(4, per_channel=False)], ids=str)
@pytest.mark.parametrize("exponent", [-80, -20, 20, 80])
def test_uniform_levels_scale_with_the_weight(gaussian: Tensor, codec: UniformCodec, exponent: int) -> None:
    weight = gaussian[:4]
    scaled = codec.decode(codec.encode(weight * 2.0**exponent))
    assert torch.equal(scaled, codec.decode(codec.encode(weight)) * 2.0**exponent)


@pytest.mark.parametrize("bits", range(1, 9))
def test_fixed_length_codes_take_the_bytes_they_should(gaussian: Tensor, bits: int) -> None:
    weight = gaussian[:3, :101]
    codes = -(-303 * bits // 8)
    assert UniformCodec(bits).encode(weight).size_bytes == 1 + 4 + 2 * 3 + codes
    assert UniformCodec(bits, per_channel=False).encode(weight).size_bytes == 1 + 4 + 2 + codes
    codec = CodebookCodec(bits, entropy_coded=False)
    levels = min(2**bits, 303)
    assert codec.encode(weight).size_bytes == 2 + 4 + 2 * levels + codes
    assert replace(codec, entropy_coded=True).encode(weight).size_bytes <= 2 + 4 + 2 * levels + codes


def test_channels_of_different_size_have_steps_of_their_own(gaussian: Tensor) -> None:
    weight = gaussian[:4] * torch.tensor([[1.0], [0.1], [0.01], [10.0]])
    error = {
        each: (codec.decode(codec.encode(weight)) - weight).square().mean(1)
        for each in (True, False)
        for codec in [UniformCodec(4, per_channel=each)]
    }
    assert (error[True][:3] < 0.1 * error[False][:3]).all()
