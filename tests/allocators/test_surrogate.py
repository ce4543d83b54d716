"""The surrogate: right where it has seen, honest about where it hasn't."""

import math

import numpy as np
import pytest
from cascade import cascade

from ravn.allocators import Problem
from ravn.allocators.problem import Selection
from ravn.allocators.random_search import random_selection
from ravn.allocators.selections import Table, distortions, table_of
from ravn.allocators.surrogate import Surrogate


def plans_of(problem: Problem, count: int, seed: int = 0, reach: int = 3) -> list[Selection]:
    """Different plans around the equal one."""
    generator, plans = np.random.default_rng(seed), {}
    while len(plans) < count:
        plans[random_selection(problem, problem.equal, generator, reach=reach)] = None
    return list(plans)


def additive(problem: Problem) -> Table:
    return table_of(problem, distortions(problem))


@pytest.fixture
def problem() -> Problem:
    return cascade(8, 13, seed=4)


@pytest.fixture
def known(problem: Problem) -> dict[Selection, float]:
    return {plan: problem.loss(plan) for plan in plans_of(problem, 40)}


def test_known_plans_are_predicted_nearly_exactly(problem, known):
    truth = np.log(list(known.values()))
    mean, _ = Surrogate(problem, additive(problem), known).predict(list(known))
    assert np.abs(mean - truth).max() < 0.1 * truth.std()


def test_the_deviation_is_small_at_known_plans_and_larger_away(problem, known):
    surrogate = Surrogate(problem, additive(problem), known)
    new = [plan for plan in plans_of(problem, 60, seed=1) if plan not in known]
    far = [(0, 12) * 4, (12, 0) * 4]
    at_known, near, away = (surrogate.predict(plans)[1] for plans in (list(known), new, far))
    assert at_known.max() < 0.15 * away.min()
    assert at_known.max() < near.min()
    assert near.mean() < away.min()


def test_the_deviation_grows_with_the_number_of_units_that_differ(problem):
    base, other = (4,) * 8, (0, 12) * 4
    surrogate = Surrogate(problem, additive(problem), {plan: problem.loss(plan) for plan in (base, other)})
    plans = [(*(5,) * count, *base[count:]) for count in range(9)]
    deviations = surrogate.predict(plans)[1]
    assert (np.diff(deviations) > 0).all()


def test_plans_never_seen_are_predicted_better_the_more_are_known_and_better_than_by_the_prior():
    errors = []
    for seed in range(5):
        problem = cascade(8, 13, seed=seed)
        table, (*known, new) = additive(problem), np.split(np.array(plans_of(problem, 400)), [20, 80, 300])
        plans = [tuple(row) for row in new.tolist()]
        truth = np.log([problem.loss(plan) for plan in plans])
        prior = np.log([table.value(plan) for plan in plans]) - truth
        errors.append([np.abs(prior - prior.mean()).mean()])
        for rows in (known[0], np.concatenate(known[:2]), np.concatenate(known)):
            losses = {plan: problem.loss(plan) for plan in map(tuple, rows.tolist())}
            mean, _ = Surrogate(problem, table, losses).predict(plans)
            errors[-1].append(np.abs(mean - truth).mean())
    assert (np.diff(np.mean(errors, 0)) < 0).all()


def test_losses_that_are_additive_are_predicted_exactly_and_without_doubt(problem):
    table = additive(problem)
    known = {plan: 7 * table.value(plan) for plan in plans_of(problem, 12)}
    new = plans_of(problem, 30, seed=5)
    mean, deviation = Surrogate(problem, table, known).predict(new)
    np.testing.assert_allclose(mean, np.log([7 * table.value(plan) for plan in new]), atol=1e-9)
    assert deviation.max() < 1e-6


def test_losses_without_a_logarithm_are_left_out(problem, known):
    broken = dict(zip(plans_of(problem, 4, seed=6), (0.0, -1.0, math.inf, math.nan), strict=True))
    new = plans_of(problem, 10, seed=7)
    clean = {plan: loss for plan, loss in known.items() if plan not in broken}
    expected = Surrogate(problem, additive(problem), clean).predict(new)
    np.testing.assert_array_equal(Surrogate(problem, additive(problem), clean | broken).predict(new), expected)


def test_the_order_of_the_known_plans_does_not_matter(problem, known):
    new = plans_of(problem, 10, seed=8)
    backwards = dict(reversed(known.items()))
    first, second = (Surrogate(problem, additive(problem), losses).predict(new) for losses in (known, backwards))
    np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-10)


def test_what_is_expected_of_other_networks_leaves_the_luck_of_single_choices_out(problem):
    table, plans = additive(problem), plans_of(problem, 60)
    choice = plans[0][0]
    known = {plan: (1.5 if plan[0] == choice else 1.0) * table.value(plan) for plan in plans}
    surrogate = Surrogate(problem, table, known)
    unlucky = [(choice, *plan[1:]) for plan in plans_of(problem, 20, seed=9)]
    mean, _ = surrogate.predict(unlucky)
    prior = np.log([table.value(plan) for plan in unlucky])
    expected = surrogate.expected(unlucky)
    assert (mean - prior).mean() > (expected - prior).mean() + 0.02
    even = Surrogate(problem, table, {plan: 7 * table.value(plan) for plan in plans})
    np.testing.assert_allclose(even.expected(unlucky), prior + np.log(7), atol=1e-9)
