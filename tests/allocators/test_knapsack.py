"""The knapsack against brute force."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators.knapsack import KnapsackAllocator, cheap_plans, solve, solve_all
from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import FLOAT, Selection
from ravn.allocators.selections import distortions, sizes
from ravn.errors import BudgetError

LOSSES = st.floats(-10, 10, allow_nan=False)
ROWS = st.lists(st.lists(st.tuples(LOSSES, st.integers(0, 40)), min_size=1, max_size=4), min_size=1, max_size=5)


def optimum(values: list[list[float]], sizes: list[list[int]], capacity: int) -> float:
    """Least value of all selections that fit; infinite if none does."""
    value, size = np.zeros(1), np.zeros(1, dtype=np.int64)
    for row, bytes_row in zip(values, sizes, strict=True):
        value = np.add.outer(value, row).ravel()
        size = np.add.outer(size, bytes_row).ravel()
    return float(np.where(size <= capacity, value, math.inf).min())


def total(rows: list[list[float]] | list[list[int]], selection: tuple[int, ...]) -> float:
    return sum(row[i] for row, i in zip(rows, selection, strict=True))


@given(rows=ROWS, capacity=st.integers(0, 150))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_the_solution_is_as_good_as_that_of_brute_force(rows, capacity):
    values = [[value for value, _ in row] for row in rows]
    sizes = [[size for _, size in row] for row in rows]
    best = optimum(values, sizes, capacity)
    if math.isinf(best):
        with pytest.raises(BudgetError) as refusal:
            solve(values, sizes, capacity)
        assert refusal.value.smallest_bytes == sum(min(row) for row in sizes) > capacity
        return
    selection = solve(values, sizes, capacity)
    assert total(sizes, selection) <= capacity
    assert total(values, selection) == pytest.approx(best, abs=1e-9)


@given(rows=ROWS, slacks=st.lists(st.integers(0, 150), min_size=1, max_size=4))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_several_capacities_at_once_give_the_solutions_of_each_alone(rows, slacks):
    values = [[value for value, _ in row] for row in rows]
    sizes = [[size for _, size in row] for row in rows]
    capacities = [sum(min(row) for row in sizes) + slack for slack in slacks]
    alone = [solve(values, sizes, capacity) for capacity in capacities]
    assert solve_all(values, sizes, capacities) == alone


def random_rows(seed: int, scale: float) -> tuple[list[list[float]], list[list[int]]]:
    """Six units of five choices, dearer ones better."""
    generator = np.random.default_rng(seed)
    sizes = np.sort(generator.integers(10, int(scale), (6, 5)), axis=1)
    values = np.sort(generator.exponential(size=(6, 5)), axis=1)[:, ::-1]
    return values.tolist(), sizes.tolist()


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_with_much_slack_no_more_is_lost_than_one_grain_per_unit_explains(seed, share):
    values, sizes = random_rows(seed, 3e6)
    low, high = sum(row[0] for row in sizes), sum(row[-1] for row in sizes)
    capacity = low + int(share * (high - low))
    slack, grain = capacity - low, -(-(capacity - low) // (1 << 16))
    assert slack > 1 << 18, "the coarse path is not taken"
    selection = solve(values, sizes, capacity)
    assert total(sizes, selection) <= capacity
    assert optimum(values, sizes, capacity) - 1e-9 <= total(values, selection)
    assert total(values, selection) <= optimum(values, sizes, capacity - 7 * grain) + 1e-9


def test_the_largest_exact_slack_is_still_exact():
    values, sizes = [[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]], [[0, 1 << 17, (1 << 17) + 1], [0, 1 << 17, (1 << 17) + 1]]
    assert solve(values, sizes, 1 << 18) == (1, 1)
    assert sorted(solve(values, sizes, (1 << 18) - 1)) == [0, 2]


def test_rounding_many_sizes_down_would_exceed_the_capacity_and_is_not_done():
    # Grains of ten bytes: each size is nine bytes above a whole number of them.
    assert sum(solve([[1.0, 0.0]] * 3, [[0, 218_459]] * 3, 655_360)) == 2


def test_bytes_that_rounding_wasted_are_spent():
    # Grains of ten bytes: the size is the capacity, and neither is a whole number of them.
    assert solve([[1.0, 0.0]], [[0, 655_357]], 655_357) == (1,)


def test_one_byte_decides_between_plans():
    values, sizes = [[1.0, 0.0], [1.0, 0.5]], [[10, 20], [10, 13]]
    plans = {capacity: solve(values, sizes, capacity) for capacity in (20, 22, 23, 29, 30, 32, 33)}
    assert plans == {20: (0, 0), 22: (0, 0), 23: (0, 1), 29: (0, 1), 30: (1, 0), 32: (1, 0), 33: (1, 1)}


def test_more_capacity_is_never_worse():
    values, sizes = random_rows(99, 60)
    capacities = range(sum(row[0] for row in sizes), sum(row[-1] for row in sizes) + 1)
    losses = [total(values, solve(values, sizes, capacity)) for capacity in capacities]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(losses))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bits", [1.0, 3.0])
def test_true_evaluations_decide_how_far_distortions_and_measurements_are_trusted(seed, bits):
    problem = cascade(10, 13, seed=seed, bits=bits, evaluations=100)
    plans = cheap_plans(Ledger(problem))
    assert solve(distortions(problem), sizes(problem), problem.capacity_bytes) in plans
    found = KnapsackAllocator().allocate(problem)
    assert problem.loss(found.selection) == min(map(problem.loss, plans))


def test_where_distortions_tell_a_bad_equal_plan_does_not_mislead():
    problem = cascade(16, 13, bits=1.5, evaluations=400)
    thorough = solve(distortions(problem), sizes(problem), problem.capacity_bytes)

    def loss(selection: Selection) -> float:
        """Additive in the distortions, but all that is not near the best plan is as bad as can be."""
        damage = sum(row[i] for row, i in zip(distortions(problem), selection, strict=True) if i != FLOAT)
        return damage if sum(a != b for a, b in zip(selection, thorough, strict=True)) < 4 else 100.0

    found = KnapsackAllocator().allocate(replace(problem, loss=loss))
    assert found.selection == thorough


def test_where_losses_are_additive_the_optimum_is_found():
    problem = cascade(10, 13, bits=1.5, evaluations=100)
    rows = [[weight * value for value in row] for weight, row in enumerate(distortions(problem), 1)]

    def loss(selection: Selection) -> float:
        return sum(row[i] for row, i in zip(rows, selection, strict=True) if i != FLOAT)

    found = KnapsackAllocator().allocate(replace(problem, loss=loss))
    assert found.selection == solve(rows, sizes(problem), problem.capacity_bytes)
