"""Fixed-length codes hold the same weight, to the bit, in as few bytes as any choice of stages allows."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.codecs import (
    ClusterCodec,
    CodebookCodec,
    Codec,
    EntropyCodec,
    TrellisCodec,
    UniformCodec,
    VectorCodec,
    decoded,
)
from ravn.runtime import counted_bytes, fixed_rate, unpacked
from ravn.runtime.stages import PLANE_BITS, best_widths, pieces, staged, unstaged

CODECS: tuple[Codec, ...] = (
    EntropyCodec(0.03),
    EntropyCodec(0.0005),
    EntropyCodec(0.03, spectral=True),
    TrellisCodec(0.05),
    TrellisCodec(0.05, spectral=True),
    UniformCodec(4),
    UniformCodec(8),
    UniformCodec(3, per_channel=False),
    CodebookCodec(3),
    CodebookCodec(8),
    ClusterCodec((2, 3, 0, 1)),
    VectorCodec(4, 6),
    VectorCodec("kernel", 5),
)


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (10, 307), (2001,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weight_is_the_decoded_one_to_the_bit_or_to_rounding(
    codec: Codec, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.1).to(dtype)
    encoded = codec.encode(weight)
    packed = fixed_rate(encoded)
    if packed is None:
        assert len(decoded(encoded).unique()) > 200
        return
    assert unpacked(packed).dtype == dtype
    if packed.spectral:
        near = 1e-6 if dtype == torch.float32 else 1e-2
        assert torch.allclose(unpacked(packed), decoded(encoded), rtol=near, atol=near * float(weight.abs().max()))
    else:
        assert torch.equal(unpacked(packed), decoded(encoded))
    assert packed.size_bytes == sum(t.nbytes for t in packed.tensors())
    assert packed.size_bytes < weight.nbytes


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 700), st.integers(1, 900), st.floats(0.1, 4.0), st.integers(0, 99))
def test_stages_give_every_code_back(size: int, count: int, slope: float, seed: int) -> None:
    shares = np.arange(1, size + 1) ** -slope
    codes = np.random.default_rng(seed).choice(size, count, p=shares / shares.sum())
    stages, order = staged(codes, size)
    assert np.array_equal(order[unstaged(stages).numpy()[:count]], codes)
    assert all(len(plane) == -(-len(plane) // piece) * piece for s in stages for piece, plane in _planes(s))


@pytest.mark.parametrize("codec", [EntropyCodec(0.03), UniformCodec(4), CodebookCodec(3)], ids=str)
def test_a_layer_counts_as_its_largest_form(codec: Codec) -> None:
    encoded = codec.encode(torch.randn(16, 90, generator=torch.Generator().manual_seed(0)) * 0.1)
    form = fixed_rate(encoded)
    assert form is not None
    assert counted_bytes(encoded, fixed=False) == encoded.size_bytes
    assert counted_bytes(encoded, fixed=True) == max(encoded.size_bytes, form.size_bytes)
    large = EntropyCodec(1e-3).encode(torch.linspace(-1, 1, 70).reshape(10, 7))
    assert counted_bytes(large, fixed=True) >= 280


def _planes(stage):
    return zip(pieces(stage.width), stage.planes, strict=True)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=40))
def test_no_choice_of_stages_takes_fewer_bits(counts: list[int]) -> None:
    falling = np.sort(np.array(counts))[::-1]
    chosen = best_widths(falling)

    def bits(widths: tuple[int, ...]) -> float:
        left, total = falling, 0
        for number, width in enumerate(widths):
            total += int(left.sum()) * width + PLANE_BITS * width.bit_count()
            left = left[(1 << width) - (number < len(widths) - 1) :]
        return np.inf if len(left) else total

    every = [widths for stages in (1, 2) for widths in product(range(1, 9), repeat=stages)]
    assert bits(chosen) == min(map(bits, every))


def test_sixteen_levels_take_four_bits_and_the_table() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    packed = fixed_rate(UniformCodec(4, per_channel=False).encode(weight))
    assert packed is not None
    assert packed.size_bytes <= weight.numel() // 2 + 16 + 4


@pytest.mark.parametrize("width", range(1, 17))
def test_pieces_are_powers_of_two_that_fit_bytes(width: int) -> None:
    assert sum(pieces(width)) == width
    assert all(8 % piece == 0 for piece in pieces(width))


def test_a_weight_that_would_not_shrink_is_left_alone() -> None:
    assert fixed_rate(EntropyCodec(1e-3).encode(torch.linspace(-1, 1, 70).reshape(10, 7))) is None
    assert fixed_rate(EntropyCodec(1.0).encode(torch.zeros(0, 3))) is None
