"""Probabilities of symbols under a scale: exact powers, mirror images, windows, and a factor on zero."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.codecs.entropy_coder import code_lengths
from ravn.codecs.shapes import OCTAVE, OFFSETS, SHAPES, masses, power, tables

quick = settings(deadline=None, derandomize=True, max_examples=60)
widths, shapes = st.integers(-16, 24), st.sampled_from(SHAPES)
offsets = st.integers(0, OFFSETS - 1)


@given(st.integers(-300, 300))
@quick
def test_powers_are_exact_at_octaves_and_rise_by_a_quarter_of_one(quarters: int) -> None:
    assert power(OCTAVE * quarters) == math.ldexp(1.0, quarters)
    assert power(quarters) ** OCTAVE == pytest.approx(math.ldexp(1.0, quarters), rel=1e-15 * 8)
    assert power(quarters + OCTAVE) == 2 * power(quarters)
    assert power(quarters) < power(quarters + 1)


@given(widths, shapes, st.integers(0, 40), offsets)
@quick
def test_levels_that_mirror_one_another_are_equally_likely(width: int, shape: int, reach: int, offset: int) -> None:
    # The level k + o/4 mirrors (-k - 1) + (4 - o)/4.
    found = masses(width, shape, -reach, 2 * reach + 1, offset)
    mirrored = masses(width, shape, -reach - 1, 2 * reach + 1, OFFSETS - offset) if offset else found
    np.testing.assert_array_equal(found, mirrored[::-1])


@given(widths, shapes, offsets, st.integers(-30, 30), st.integers(1, 30))
@quick
def test_a_window_of_symbols_has_the_masses_of_the_whole(
    width: int, shape: int, offset: int, low: int, size: int
) -> None:
    whole = masses(width, shape, -64, 129, offset)
    np.testing.assert_array_equal(masses(width, shape, low, size, offset), whole[64 + low : 64 + low + size])


@given(widths, shapes, offsets)
@quick
def test_masses_fall_with_the_magnitude_and_the_slower_the_wider(width: int, shape: int, offset: int) -> None:
    found, wider = (masses(w, shape, 0, 12, offset) for w in (width, width + 1))
    assert (np.diff(found) <= 0).all()
    seen = found > 1e-290
    ratios, wide_ratios = found[1:] / np.where(seen, found, 1)[:-1], wider[1:] / np.where(seen, wider, 1)[:-1]
    both = seen[1:]
    assert (wide_ratios[both] >= ratios[both]).all()


@given(st.integers(-8, 16), shapes, st.integers(-20, 0), st.integers(1, 40), st.integers(-4, 12))
@quick
def test_the_factor_on_zero_makes_it_as_much_likelier_and_leaves_the_others_alone(
    width: int, shape: int, low: int, size: int, zero: int
) -> None:
    mass = masses(width, shape, low, size).copy()
    if -low < size:
        mass[-low] *= power(zero)
    expected = -np.log2(mass / mass.sum())
    lengths = code_lengths(tables(np.array([width]), shape, zero, low, size)[0])
    near = expected < 12
    # A table rounds frequencies to one part in 32, and gives the rarest symbols more than they ask for.
    assert np.abs(lengths - expected)[near].max(initial=0) < 0.15
    assert (2.0**-lengths).sum() == pytest.approx(1)


def test_far_from_all_mass_symbols_are_equally_likely() -> None:
    (table,) = tables(np.array([-16]), SHAPES[-1], 0, 1500, 7)
    assert len(table) == 7
    assert len(set(table)) == 1


def test_every_class_has_the_table_that_it_has_alone() -> None:
    classes = np.array([-5, 0, 3, 12])
    together = tables(classes, SHAPES[0], 2, -9, 20, 1)
    assert together == [tables(np.array([c]), SHAPES[0], 2, -9, 20, 1)[0] for c in classes]
    assert len(set(together)) == len(classes)
