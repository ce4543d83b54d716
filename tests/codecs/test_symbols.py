"""What `pack_symbols` writes comes back, with one table and with many, on the integers and a quarter off them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.codecs.scales import Scales, fitted_scales
from ravn.codecs.shapes import SHAPES, masses
from ravn.codecs.symbols import pack_symbols, unpack_symbols, worthwhile_classes
from ravn.errors import ArtifactError


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_symbols_come_back(rows: int, channels: int, positions: int, seed: int, offset: int) -> None:
    chance = np.random.default_rng(seed)
    symbols = chance.integers(0, chance.integers(1, 40), (rows, channels * positions)).astype(np.int32)
    symbols -= symbols.min()
    sides = [chance.integers(-24, 25, side) for side in (rows, channels, positions)]
    for scales in (None, Scales(*sides)):
        packed = pack_symbols(symbols, -7, scales, offset=offset)
        found = unpack_symbols(packed, rows, channels * positions, offset=offset)
        assert np.array_equal(found.symbols, symbols.ravel())
        assert found.low == -7
        assert (found.classes is None) == (scales is None)
        assert scales is None or np.array_equal(found.classes, scales.classes.ravel())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [-9, 0, 7])
def test_levels_off_the_integers_have_the_masses_of_where_they_lie(shape: int, width: int) -> None:
    scale, points = 2 ** (width / 4), (np.arange(8) - 3.5) / 8
    for offset in (1, 2, 3):
        places = np.arange(-5, 4)[:, None] + offset / 4 + points
        expected = np.exp(-(np.abs(places / scale) ** (1 + shape / 2))).sum(1)
        np.testing.assert_allclose(masses(width, shape, -5, 9, offset), expected, rtol=1e-12, atol=1e-300)


def test_classes_are_only_taken_where_they_pay() -> None:
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    symbols = weight.mul(2).round().int().sub(-20).numpy()
    assert worthwhile_classes(weight.flatten(), symbols, -20, 41) is None
    spread = weight * torch.linspace(-3, 3, 64).exp2()[:, None]
    symbols = spread.mul(2).round().int()
    low, size = int(symbols.min()), int(symbols.max() - symbols.min()) + 1
    found = worthwhile_classes(spread, symbols.sub(low).numpy(), low, size)
    assert found is not None
    assert found.lengths(low, size).shape == (len(found.used), size)
    plain = pack_symbols(symbols.sub(low).numpy(), low)
    assert len(pack_symbols(symbols.sub(low).numpy(), low, fitted_scales(spread))) < len(plain)


def test_a_body_that_ends_in_its_head_is_refused() -> None:
    packed = pack_symbols(np.zeros((2, 2), np.int32), 0, Scales(*[np.zeros(n, np.int64) for n in (2, 2, 1)]))
    for length in range(13):
        with pytest.raises(ArtifactError):
            unpack_symbols(packed[:length], 2, 2)
