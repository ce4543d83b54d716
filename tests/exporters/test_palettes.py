"""A palette holds the weight to the bit, in as few bytes as any grouping of its rows allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.exporters.palettes import WIDTHS, palette, rounded


def read(found) -> np.ndarray:
    rows = len(found.indices)
    group = np.repeat(np.arange(len(found.tables)), rows // len(found.tables))
    values = found.tables[group.reshape(-1, *[1] * (found.indices.ndim - 1)), found.indices]
    return values if found.scales is None else values * found.scales


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 300), st.integers(1, 40), st.sampled_from([1, 0]), st.integers(0, 99))
def test_it_is_the_weight(rows: int, levels: int, columns: int, single: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(-levels, levels, (rows, columns)).astype(np.float32)
    scales = generator.normal(size=(1, 1) if single else (rows, 1)).astype(np.float32)
    found = palette(values, scales, 2)
    if found is None:
        assert len(np.unique(values)) > 256
        return
    assert np.array_equal(read(found), values * scales)
    assert found.width in WIDTHS
    sizes = [
        values.size * width + 16 * groups * 2**width
        for groups in range(1, rows + 1)
        if rows % groups == 0
        for width in WIDTHS
        if all(len(np.unique(part)) <= 2**width for part in np.split(values, groups))
    ]
    assert values.size * found.width + 16 * found.tables.size == min(sizes)


def test_rows_of_different_levels_get_tables_of_their_own() -> None:
    values = np.arange(8, dtype=np.float32).repeat(500).reshape(8, 500) * 16 + np.arange(500) % 16
    found = palette(values, np.ones((1, 1), np.float32), 4)
    assert found is not None
    assert (found.width, found.tables.shape) == (4, (8, 16))


def test_a_weight_of_too_many_levels_is_told() -> None:
    values = np.arange(300 * 20, dtype=np.float32).reshape(20, 300)
    assert palette(values, np.ones((1, 1), np.float32), 2) is None
    assert palette(values % 299, np.ones((1, 1), np.float32), 2) is None


@pytest.mark.parametrize("shape", [(7, 40), (5, 3, 2, 2)])
def test_eight_bits_are_off_by_half_a_step(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weight[2] = 0
    found = rounded(weight)
    peaks = np.abs(weight).reshape(len(weight), -1).max(1)
    errors = np.abs(found.integers * found.scales - weight).reshape(len(weight), -1).max(1)
    assert (errors <= peaks / 254 * 1.0001).all()
    assert not found.integers[2].any()
