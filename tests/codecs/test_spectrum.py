"""Kernels and their spectra: an invertible change of basis that leaves every output as it is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.calibration import Moments
from ravn.codecs import Codec, EntropyCodec, TrellisCodec, decoded
from ravn.codecs.base import as_matrix
from ravn.codecs.spectrum import MOST_SIDE, analysed_moment, analysis, synthesis, synthesis_matrix
from ravn.encoding import encode_layer

KERNELS = [(3,), (3, 3), (5, 5), (1, 7), (3, 1), (3, 3, 3), (MOST_SIDE,)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int) -> Tensor:
    """Kernels whose neighbours are alike, as trained ones are."""
    return normal(*shape) / 2 + normal(*shape[:2], 1, 1, seed=1)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_synthesis_inverts_analysis(kernel: tuple[int, ...]) -> None:
    weight = normal(4, 3, *kernel)
    assert not torch.allclose(analysis(weight), weight, atol=0.1)
    torch.testing.assert_close(synthesis(analysis(weight)), weight, rtol=1e-6, atol=1e-6)


@given(st.lists(st.integers(1, 5), min_size=0, max_size=5))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_any_shape_comes_back(shape: list[int]) -> None:
    weight = normal(*shape)
    torch.testing.assert_close(synthesis(analysis(weight)), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (7,), (4, 6), (4, 6, 1, 1), (1, 1, MOST_SIDE + 1), (2, 1, 3, MOST_SIDE + 1)])
def test_what_is_no_kernel_stays_as_it_is(shape: tuple[int, ...]) -> None:
    weight = normal(*shape)
    assert analysis(weight) is weight
    assert synthesis(weight) is weight
    assert synthesis_matrix(shape[2:]) is None


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_basis_is_orthogonal_and_its_steps_widen_with_the_frequency(kernel: tuple[int, ...]) -> None:
    matrix = synthesis_matrix(kernel)
    assert matrix is not None
    gram = matrix @ matrix.T
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-12)
    steps = gram.diagonal().sqrt().reshape(kernel)
    assert float(steps.log().mean()) == pytest.approx(0, abs=1e-12)
    for axis, side in enumerate(kernel):
        assert side == 1 or (steps.diff(dim=axis) > 0).all()
    flat = torch.full((1, 1, *kernel), 0.3)
    assert torch.count_nonzero(analysis(flat).abs() > 1e-6) == 1


@pytest.mark.parametrize("groups", [1, 3])
def test_the_analysed_moment_gives_the_energy_of_the_same_outputs(groups: int) -> None:
    shape = (6, 2, 3, 3)
    inputs = normal(groups, 50, 18)
    second = inputs.mT @ inputs
    weight = normal(*shape)

    def energy(values: Tensor, moment: Tensor) -> Tensor:
        blocks = as_matrix(values).reshape(groups, -1, 18)
        return ((blocks @ moment) * blocks).sum()

    expected = energy(weight, second)
    torch.testing.assert_close(energy(analysis(weight), analysed_moment(second, shape)), expected, rtol=1e-4, atol=0)
    assert torch.equal(analysed_moment(second, (6, 18)), second)


@pytest.mark.parametrize("make", [EntropyCodec, TrellisCodec])
def test_smooth_kernels_take_fewer_bytes_at_the_same_error(make: type[EntropyCodec] | type[TrellisCodec]) -> None:
    weight = smooth(64, 32, 3, 3)

    def score(codec: Codec) -> float:
        """Error in bits: half an octave of amplitude for each 3.01 dB, at the rate of the codes."""
        encoded = encode_layer(weight, codec, None)
        error = float((decoded(encoded) - weight).square().sum())
        return 8 * encoded.size_bytes / weight.numel() + 0.5 * math.log2(error)

    assert score(make(0.3, spectral=True)) < score(make(0.3)) - 0.1


@pytest.mark.parametrize("make", [EntropyCodec, TrellisCodec])
def test_they_do_under_compensation_too(make: type[EntropyCodec] | type[TrellisCodec]) -> None:
    weight = smooth(16, 8, 3, 3)
    inputs = smooth_patches(4000, 8)
    moments = Moments(inputs.T[None] @ inputs[None] / len(inputs), torch.zeros(1, 72, 72))

    def score(codec: Codec) -> float:
        encoded = encode_layer(weight, codec, moments)
        outputs = inputs @ as_matrix(decoded(encoded) - weight).T
        return 8 * encoded.size_bytes / weight.numel() + 0.5 * math.log2(float(outputs.square().sum()))

    assert score(make(0.3, spectral=True)) < score(make(0.3)) - 0.1


def smooth_patches(count: int, channels: int) -> Tensor:
    """Patches of smooth pictures, shape (count, 9 channels)."""
    rough = normal(count, channels, 5, 5)
    pooled = torch.nn.functional.avg_pool2d(rough, 3, stride=1)
    return pooled.reshape(count, -1)


def test_spectra_of_a_half_precision_weight_are_decoded_in_its_dtype() -> None:
    weight = normal(4, 3, 3, 3).half()
    back = decoded(EntropyCodec(0.1, spectral=True).encode(weight))
    assert back.dtype == torch.float16
    assert float((back - weight).abs().max()) < 0.3
