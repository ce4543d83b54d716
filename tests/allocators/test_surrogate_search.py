"""The walk on the surrogate, and that the searches on it earn their evaluations."""

import numpy as np
import pytest
from cascade import cascade

from ravn.allocators import LocalSearchAllocator, SurrogateAllocator
from ravn.allocators.ledger import Ledger
from ravn.allocators.starts import cheap_starts
from ravn.allocators.surrogate import Surrogate
from ravn.allocators.surrogate_search import descended


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("optimism", [0.0, 2.0])
def test_a_walk_sees_plans_that_fit_and_scores_them_by_the_optimistic_prediction(seed, optimism):
    problem = cascade(8, 13, seed=seed, evaluations=60)
    ledger = Ledger(problem)
    starts = cheap_starts(ledger)
    surrogate = Surrogate(problem, starts.table, ledger.feasible())
    start, generator = starts.plans[0], np.random.default_rng(seed)
    walk = descended(surrogate, starts.table, start, problem.capacity_bytes, optimism, generator)
    assert start in walk
    assert len(walk) > 8
    assert all(problem.fits(plan) for plan in walk)
    mean, deviation = surrogate.predict(list(walk))
    np.testing.assert_allclose(list(walk.values()), mean - optimism * deviation, rtol=1e-9, atol=1e-9)


def test_a_walk_from_a_plan_without_neighbours_ends_there():
    problem = cascade(1, 2, seed=0, evaluations=20)
    ledger = Ledger(problem)
    starts = cheap_starts(ledger)
    surrogate = Surrogate(problem, starts.table, ledger.feasible())
    walk = descended(surrogate, starts.table, (1,), 10**6, 0.0, np.random.default_rng(0))
    assert list(walk) == [(1,)]


def test_with_as_many_evaluations_the_surrogate_beats_the_plain_local_search():
    ratios = []
    for seed in range(6):
        problem = cascade(16, 13, seed=seed, evaluations=150)
        guided, plain = (a(seed).allocate(problem).curve[-1][1] for a in (SurrogateAllocator, LocalSearchAllocator))
        ratios.append(guided / plain)
    assert np.mean(ratios) < 0.99
