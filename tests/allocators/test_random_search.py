"""Random plans are repaired into the capacity and up to its edge, and a plan that is there already stays."""

import itertools
from dataclasses import replace

import numpy as np
from cascade import cascade
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators.problem import Problem, Selection
from ravn.allocators.random_search import random_selection, repaired

quick = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 10**6)
COUNTS = (4, 1, 3, 2, 4)
steps = st.lists(st.integers(-9, 9), min_size=len(COUNTS), max_size=len(COUNTS))


def some_problem(seed: int, share: float) -> Problem:
    """Units of one to four choices, and a capacity between the smallest and the largest plan."""
    problem = cascade(len(COUNTS), max(COUNTS), seed=seed)
    units = tuple(replace(u, choices=u.choices[:n]) for u, n in zip(problem.units, COUNTS, strict=True))
    problem = replace(problem, units=units, equal=(0,) * len(COUNTS))
    low, high = (problem.size_bytes(plan) for plan in ((0,) * len(COUNTS), tuple(n - 1 for n in COUNTS)))
    return replace(problem, capacity_bytes=low + round(share * (high - low)))


def is_full(problem: Problem, plan: Selection) -> bool:
    """Whether the plan fits and no single step up does."""
    raised = [(*plan[:u], i + 1, *plan[u + 1 :]) for u, i in enumerate(plan) if i + 1 < COUNTS[u]]
    return problem.fits(plan) and not any(problem.fits(other) for other in raised)


@given(seeds, st.floats(0, 1.1), steps)
@quick
def test_whatever_is_wanted_becomes_a_plan_at_the_edge_of_the_capacity(
    seed: int, share: float, wanted: list[int]
) -> None:
    problem = some_problem(seed, share)
    found = repaired(problem, np.array(wanted), np.random.default_rng(seed))
    assert all(0 <= i < n for i, n in zip(found, COUNTS, strict=True))
    assert is_full(problem, found)


@given(seeds, st.integers(0, len(COUNTS) - 1))
@quick
def test_the_last_byte_is_spent(seed: int, unit: int) -> None:
    generator = np.random.default_rng(seed)
    plan = np.array([generator.integers(n) for n in COUNTS])
    problem = some_problem(seed, 0)
    problem = replace(problem, capacity_bytes=problem.size_bytes(tuple(plan)))
    plan[unit] -= 1
    assert is_full(problem, repaired(problem, plan, generator))


@given(seeds, st.floats(0, 1.1))
@quick
def test_a_plan_at_the_edge_stays_as_it_is(seed: int, share: float) -> None:
    problem = some_problem(seed, share)
    every = itertools.product(*(range(n) for n in COUNTS))
    for plan in itertools.islice((plan for plan in every if is_full(problem, plan)), 5):
        assert repaired(problem, np.array(plan), np.random.default_rng(seed)) == plan
        assert random_selection(problem, plan, np.random.default_rng(seed), reach=0) == plan


@given(seeds, st.floats(0, 1.1), st.integers(0, 4))
@quick
def test_the_generator_decides_and_the_centre_is_not_changed(seed: int, share: float, reach: int) -> None:
    problem = some_problem(seed, share)
    centre = (1, 0, 1, 1, 1)
    first, second = (random_selection(problem, centre, np.random.default_rng(seed), reach=reach) for _ in range(2))
    assert first == second
    wanted = np.array([3, 0, 2, 1, 3])
    repaired(problem, wanted, np.random.default_rng(seed))
    assert wanted.tolist() == [3, 0, 2, 1, 3]


def test_every_plan_at_the_edge_is_drawn_sooner_or_later() -> None:
    problem = some_problem(262, 0.5)
    every = {plan for plan in itertools.product(*(range(n) for n in COUNTS)) if is_full(problem, plan)}
    generator = np.random.default_rng(0)
    drawn = {random_selection(problem, (1, 0, 1, 1, 1), generator) for _ in range(2000)}
    assert len(every) == 19
    assert drawn == every
