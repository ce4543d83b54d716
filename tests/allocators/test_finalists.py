"""What the searches end with: the holdout images choose along their way."""

from dataclasses import replace

import pytest
from cascade import cascade
from contenders import CONTENDERS

from ravn.allocators import KnapsackAllocator

SEARCHES = ("evolutionary", "local", "ppo", "quadratic", "surrogate")

pytestmark = pytest.mark.parametrize("name", SEARCHES)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("bits", [0.8, 2.0])
def test_on_the_holdout_no_search_is_worse_than_the_knapsack_and_the_equal_plan(name, seed, bits):
    problem = cascade(7, 13, seed=seed, bits=bits, evaluations=40)
    found = CONTENDERS[name](seed).allocate(problem).selection
    start = KnapsackAllocator().allocate(problem).selection
    assert problem.holdout_loss(found) <= min(problem.holdout_loss(start), problem.holdout_loss(problem.equal))


def test_a_search_stays_with_the_start_where_the_holdout_speaks_against_everything_else(name):
    problem = cascade(7, 13, seed=2, evaluations=50)
    stubborn = replace(problem, holdout_loss=lambda s: 0.0 if s == problem.equal else 1.0)
    kept = CONTENDERS[name](0).allocate(stubborn)
    assert kept.selection == problem.equal
    assert kept.outdone
    eager = replace(problem, holdout_loss=problem.loss)
    found = CONTENDERS[name](0).allocate(eager)
    starts = (problem.equal, KnapsackAllocator().allocate(problem).selection)
    assert found.outdone == (found.selection in starts)


def test_the_holdout_is_asked_about_few_plans_and_about_none_twice(name):
    problem = cascade(7, 13, seed=2, evaluations=50)
    asked = []
    CONTENDERS[name](0).allocate(replace(problem, holdout_loss=lambda s: asked.append(s) or problem.holdout_loss(s)))
    assert 1 < len(asked) == len(set(asked)) <= 14


def test_with_the_same_evaluations_a_search_never_ends_above_its_start_on_its_own_images(name):
    problem = cascade(10, 13, seed=1, evaluations=80)
    start = min(problem.loss(problem.equal), problem.loss(KnapsackAllocator().allocate(problem).selection))
    assert CONTENDERS[name](0).allocate(problem).curve[-1][1] <= start
