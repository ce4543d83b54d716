"""Laws that every allocator obeys, whatever its strategy."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from cascade import cascade
from contenders import CONTENDERS, watched

from ravn.allocators import Allocation, Problem
from ravn.allocators.problem import FLOAT, Selection
from ravn.errors import BudgetError

NAMES = sorted(CONTENDERS)
BITS = (0.5, 0.6, 0.8, 1.1, 1.5, 2.2, 3.4, 5.0)
EVALUATIONS = 45

pytestmark = pytest.mark.parametrize("name", NAMES)


@cache
def searched(name: str, bits: float, evaluations: int = EVALUATIONS) -> tuple[Problem, list[Selection], Allocation]:
    """A run on a small network: the problem, what was asked in that order, and the answer."""
    problem, asked = watched(cascade(7, 13, seed=3, bits=bits, evaluations=evaluations))
    return problem, asked, CONTENDERS[name](0).allocate(problem)


def smallest_bytes(problem: Problem) -> int:
    return sum(unit.choices[0].size_bytes for unit in problem.units)


@pytest.mark.parametrize("bits", BITS)
def test_the_plan_is_complete_and_fits(name, bits):
    problem, _, allocation = searched(name, bits)
    assert all(0 <= i < len(unit.choices) for i, unit in zip(allocation.selection, problem.units, strict=True))
    assert problem.size_bytes(allocation.selection) <= problem.capacity_bytes


@pytest.mark.parametrize("bits", BITS)
def test_every_plan_that_was_scored_fits_or_measures_one_unit_of_the_equal_plan(name, bits):
    problem, asked, _ = searched(name, bits)
    plans = [selection for selection in asked if FLOAT not in selection]
    assert any(problem.fits(plan) for plan in plans)
    for plan in plans:
        moved = sum(choice != equal for choice, equal in zip(plan, problem.equal, strict=True))
        assert problem.fits(plan) or moved == 1


@pytest.mark.parametrize("bits", BITS)
def test_no_selection_is_paid_twice_and_all_are_counted(name, bits):
    problem, asked, allocation = searched(name, bits)
    assert len(asked) == len(set(asked)) == allocation.evaluations <= problem.evaluations


@pytest.mark.parametrize("bits", BITS)
def test_the_curve_is_the_running_minimum_of_the_plans_that_were_paid(name, bits):
    problem, asked, allocation = searched(name, bits)
    assert all(n < m and before > after for (n, before), (m, after) in pairwise(allocation.curve))
    assert all(problem.loss(asked[number - 1]) == loss for number, loss in allocation.curve)
    assert allocation.curve[-1][1] == min(problem.loss(s) for s in set(asked) if FLOAT not in s and problem.fits(s))


@pytest.mark.parametrize("evaluations", [0, 1, 2, 9, 20])
def test_a_search_with_few_evaluations_stays_within_them(name, evaluations):
    problem, asked, allocation = searched(name, 1.5, evaluations)
    assert len(asked) == allocation.evaluations <= evaluations
    assert problem.fits(allocation.selection)
    assert bool(allocation.curve) == any(FLOAT not in selection for selection in asked)


def test_the_same_seed_gives_the_same_answer(name):
    problem = cascade(7, 13, seed=3, evaluations=EVALUATIONS)
    assert CONTENDERS[name](5).allocate(problem) == CONTENDERS[name](5).allocate(problem)


def test_a_budget_below_the_smallest_choices_is_refused_with_their_size(name):
    problem = cascade(7, seed=3)
    tight = replace(problem, capacity_bytes=smallest_bytes(problem) - 1, equal=(0,) * 7)
    with pytest.raises(BudgetError, match=str(tight.capacity_bytes)) as refusal:
        CONTENDERS[name](0).allocate(tight)
    assert refusal.value.smallest_bytes == smallest_bytes(problem)


def test_a_budget_of_exactly_the_smallest_choices_gives_them(name):
    problem = cascade(7, seed=3, evaluations=EVALUATIONS)
    tight = replace(problem, capacity_bytes=smallest_bytes(problem), equal=(0,) * 7)
    assert CONTENDERS[name](0).allocate(tight).selection == (0,) * 7


@pytest.mark.parametrize("units", [1, 2, 3])
def test_small_networks_get_plans_too(name, units):
    problem = cascade(units, 5, seed=1, bits=1.2, evaluations=30)
    assert problem.fits(CONTENDERS[name](0).allocate(problem).selection)


def test_units_with_few_choices_are_not_pushed_beyond_them(name):
    problem = cascade(5, 13, seed=4, bits=3.0, evaluations=EVALUATIONS)
    counts = (1, 2, 13, 5, 13)
    units = tuple(replace(u, choices=u.choices[:count]) for u, count in zip(problem.units, counts, strict=True))
    ragged, asked = watched(replace(problem, units=units, equal=(0, 1, 4, 4, 4)))
    allocation = CONTENDERS[name](0).allocate(ragged)
    for selection in (*asked, allocation.selection):
        assert all(i < count for i, count in zip(selection, counts, strict=True))


@pytest.mark.parametrize("broken", [math.inf, math.nan, 0.0, -1e-9])
def test_losses_without_a_logarithm_do_not_stop_a_search(name, broken):
    problem = cascade(6, seed=2, evaluations=30)
    odd = replace(problem, loss=lambda s: problem.loss(s) if FLOAT in s else broken)
    allocation = CONTENDERS[name](0).allocate(odd)
    assert problem.fits(allocation.selection)
    assert all(not math.isnan(loss) for _, loss in allocation.curve)


def test_plans_under_which_the_network_overflows_are_not_chosen(name):
    problem = cascade(6, seed=2, evaluations=60)
    safe = {problem.equal, (FLOAT,) * 6}

    def loss(selection: Selection) -> float:
        return math.inf if sum(selection) % 3 == 0 and selection not in safe else problem.loss(selection)

    odd, asked = watched(replace(problem, loss=loss, holdout_loss=loss))
    allocation = CONTENDERS[name](0).allocate(odd)
    assert any(math.isinf(loss(selection)) for selection in asked) or name in ("equal", "uniform")
    if name not in ("knapsack", "greedy"):  # these pay for one plan only: the one they end with
        assert math.isfinite(loss(allocation.selection))
