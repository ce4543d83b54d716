"""The local search and its moves."""

from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade

from ravn.allocators import KnapsackAllocator, LocalSearchAllocator, Problem
from ravn.allocators.ledger import Ledger
from ravn.allocators.local_search import swaps
from ravn.allocators.problem import Selection
from ravn.allocators.selections import Table, distortions, filled, swapped, table_of
from ravn.allocators.starts import cheap_starts


def certain(problem: Problem) -> Problem:
    """The same problem, whose holdout images are those of the search: the best plan on the way is the answer."""
    return replace(problem, holdout_loss=problem.loss)


def swapped_one_by_one(table: Table, plan: Selection, pairs: np.ndarray, capacity: int) -> list[Selection]:
    """What `swapped` gives, step by step."""
    found = []
    for up, down in pairs.tolist():
        chosen = [c + (i == up) for i, c in enumerate(plan)]
        if chosen[up] >= len(table.sizes[up]) or not np.isfinite(table.values[up, chosen[up]]):
            continue
        while table.size_bytes(tuple(chosen)) > capacity and chosen[down] > 0 and up != down:
            chosen[down] -= 1
        if table.size_bytes(tuple(chosen)) <= capacity:
            found.append(filled(table, tuple(chosen), capacity))
    return [new for new in found if new != plan]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bits", [0.7, 1.5, 3.0])
def test_many_swaps_at_once_are_the_swaps_one_by_one(seed, bits):
    problem = cascade(7, 9, seed=seed, bits=bits)
    table, generator = table_of(problem, distortions(problem)), np.random.default_rng(seed)
    pairs = generator.integers(0, 7, (60, 2))
    plan = tuple(generator.integers(0, 9, 7).tolist())
    for start in (problem.equal, plan):
        capacity = max(problem.capacity_bytes, problem.size_bytes(start))
        expected = swapped_one_by_one(table, start, pairs, capacity)
        assert [tuple(row) for row in swapped(table, start, pairs, capacity).tolist()] == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bits", [0.7, 1.5, 3.0])
def test_every_swap_fits_and_differs_from_where_it_starts(seed, bits):
    problem = cascade(8, 13, seed=seed, bits=bits)
    table = table_of(problem, distortions(problem))
    plans = list(swaps(table, problem.equal, problem.capacity_bytes, np.random.default_rng(seed)))
    assert plans
    for plan in plans:
        assert problem.fits(plan)
        assert plan != problem.equal
        assert any(after > before for before, after in zip(problem.equal, plan, strict=True))


def test_the_generator_decides_the_order_of_the_swaps_and_nothing_else():
    problem = cascade(8, 13, seed=0)
    table = table_of(problem, distortions(problem))
    first, second = (
        list(swaps(table, problem.equal, problem.capacity_bytes, np.random.default_rng(seed))) for seed in (0, 1)
    )
    assert first != second
    assert sorted(first) == sorted(second)


def test_swaps_leave_the_ends_of_the_choices_alone():
    problem = cascade(4, 5, seed=0)
    for start, capacity in (((4,) * 4, 10**9), ((0,) * 4, problem.size_bytes((0,) * 4))):
        table = table_of(problem, distortions(problem))
        assert not list(swaps(table, start, capacity, np.random.default_rng(0)))


@pytest.mark.parametrize("seed", range(5))
def test_with_evaluations_to_spare_the_search_ends_where_no_swap_helps(seed):
    problem = certain(cascade(8, 13, seed=seed, evaluations=10_000))
    allocation = LocalSearchAllocator(seed).allocate(problem)
    assert allocation.evaluations < problem.evaluations
    table = cheap_starts(Ledger(problem)).table
    neighbours = swaps(table, allocation.selection, problem.capacity_bytes, np.random.default_rng(0))
    assert all(problem.loss(plan) >= problem.loss(allocation.selection) for plan in neighbours)


@pytest.mark.parametrize("seed", range(5))
def test_the_search_never_ends_worse_than_the_knapsack_and_the_equal_plan(seed):
    problem = certain(cascade(8, 13, seed=seed, evaluations=60))
    start = min(problem.loss(KnapsackAllocator().allocate(problem).selection), problem.loss(problem.equal))
    found = problem.loss(LocalSearchAllocator(seed).allocate(problem).selection)
    assert found <= start
    assert found == LocalSearchAllocator(seed).allocate(problem).curve[-1][1]


def test_more_evaluations_are_never_worse():
    # From 165 evaluations on, the measured sensitivities and so the order of the moves stay the same.
    losses = []
    for evaluations in (165, 180, 210, 300, 600):
        problem = certain(cascade(16, 13, seed=0, evaluations=evaluations))
        losses.append(problem.loss(LocalSearchAllocator(0).allocate(problem).selection))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
