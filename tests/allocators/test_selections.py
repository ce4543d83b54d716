"""Moves on the table of sizes and losses."""

import numpy as np
import pytest
from cascade import cascade
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators.problem import Selection
from ravn.allocators.selections import Table, all_filled, distortions, filled, table_of


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Selection, int]:
    """Ragged rows of ascending sizes and any losses, a selection, and a capacity that it fits."""
    rows = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 60), st.floats(0, 10)), min_size=1, max_size=5, unique_by=lambda c: c[0]),
            min_size=1,
            max_size=5,
        )
    )
    sizes = [sorted(size for size, _ in row) for row in rows]
    table = Table.of([[value for _, value in row] for row in rows], sizes)
    start = tuple(draw(st.integers(0, len(row) - 1)) for row in rows)
    return table, start, table.size_bytes(start) + draw(st.integers(0, 120))


@given(case=tables())
@settings(derandomize=True, deadline=None, max_examples=120)
def test_filling_fits_and_lowers_no_unit_and_never_raises_the_loss(case):
    table, start, capacity = case
    plan = filled(table, start, capacity)
    assert table.size_bytes(plan) <= capacity
    assert all(after >= before for before, after in zip(start, plan, strict=True))
    assert table.value(plan) <= table.value(start) + 1e-9


@given(case=tables())
@settings(derandomize=True, deadline=None, max_examples=120)
def test_after_filling_no_single_upgrade_both_fits_and_helps(case):
    table, start, capacity = case
    plan = filled(table, start, capacity)
    for unit, choices in enumerate(table.sizes):
        for choice in range(plan[unit] + 1, len(choices)):
            upgrade = (*plan[:unit], choice, *plan[unit + 1 :])
            fits = table.size_bytes(upgrade) <= capacity
            assert not (fits and table.values[unit, choice] < table.values[unit, plan[unit]])


def test_filling_spends_on_the_largest_fall_per_byte_first():
    table = Table.of([[10.0, 4.0], [10.0, 2.0], [10.0, 9.0]], [[0, 2], [0, 8], [0, 1]])
    assert [filled(table, (0, 0, 0), capacity) for capacity in (1, 2, 3, 7, 8, 10, 11)] == [
        (0, 0, 1),
        (1, 0, 0),
        (1, 0, 1),
        (1, 0, 1),
        (1, 0, 1),
        (1, 1, 0),
        (1, 1, 1),
    ]


def test_many_selections_are_filled_as_each_alone_would_be():
    problem = cascade(6, 9, seed=1, bits=1.4)
    table, generator = table_of(problem, distortions(problem)), np.random.default_rng(0)
    chosen = generator.integers(0, 4, (50, 6))
    chosen[0] = 8
    together = all_filled(table, chosen, problem.capacity_bytes)
    fits = np.array([problem.fits(tuple(row)) for row in chosen.tolist()])
    assert fits.any()
    assert not fits[0]
    for before, after, fit in zip(chosen.tolist(), together.tolist(), fits, strict=True):
        assert tuple(after) == (filled(table, tuple(before), problem.capacity_bytes) if fit else tuple(before))


def test_a_unit_with_fewer_choices_is_padded_so_that_nothing_is_gained_there():
    table = Table.of([[1.0], [2.0, 1.0, 0.5]], [[5], [1, 2, 3]])
    assert np.isinf(table.values[0, 1:]).all()
    assert table.size_bytes((0, 2)) == 8
    assert table.value((0, 2)) == pytest.approx(1.5)
    assert filled(table, (0, 0), 10**15) == (0, 2)
