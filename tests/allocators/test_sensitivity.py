"""Sensitivities: few measurements, monotone rows, exact where the loss follows the power law that is assumed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade
from contenders import watched

from ravn.allocators import Problem
from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import FLOAT, Selection
from ravn.allocators.selections import distortions
from ravn.allocators.sensitivity import believed, measure


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("evaluations", [0, 5, 30, 60, 300])
def test_rows_are_positive_finite_and_never_rise_with_the_size(seed, evaluations):
    problem = cascade(8, 13, seed=seed, evaluations=evaluations)
    rows = measure(Ledger(problem))
    assert [len(row) for row in rows] == [len(unit.choices) for unit in problem.units]
    for row in rows:
        assert 0 < min(row) <= max(row) < math.inf
        assert row == sorted(row, reverse=True)


@pytest.mark.parametrize("evaluations", range(0, 120, 7))
@pytest.mark.parametrize("share", [0.2, 0.4, 0.9])
def test_the_measurements_stay_within_their_share_and_their_rates(evaluations, share):
    problem, asked = watched(cascade(8, 13, evaluations=evaluations))
    measure(Ledger(problem), share=share, rates=3)
    assert len(asked) <= share * evaluations
    assert len(asked) <= 1 + 8 * 3
    for selection in asked:
        assert sum(choice != equal for choice, equal in zip(selection, problem.equal, strict=True)) <= 1


def test_a_span_is_measured_in_a_network_that_is_left_in_floating_point():
    problem, asked = watched(cascade(8, 13, evaluations=100))
    measure(Ledger(problem), span=((1,) * 8, (9,) * 8))
    assert len(asked) == 1 + 4 * 8
    for selection in asked:
        assert sum(choice != FLOAT for choice in selection) <= 1


def test_more_evaluations_buy_more_rates_up_to_the_limit():
    paid = []
    for evaluations in (10, 25, 50, 75, 100, 1000):
        problem, asked = watched(cascade(8, 13, evaluations=evaluations))
        measure(Ledger(problem))
        paid.append(len(asked))
    assert paid == [0, 1 + 8, 1 + 2 * 8, 1 + 3 * 8, 1 + 4 * 8, 1 + 4 * 8]


def test_without_evaluations_the_distortions_stand_in():
    problem = cascade(8, 13, evaluations=0)
    assert measure(Ledger(problem)) == distortions(problem)


def power_law(problem: Problem, exponent: float) -> tuple[Problem, np.ndarray]:
    """Losses that are sums of powers of the distortions, and these powers."""
    rows = np.array(distortions(problem)) ** exponent * np.linspace(1, 3, len(problem.units))[:, None]

    def loss(selection: Selection) -> float:
        return float(sum(row[i] for row, i in zip(rows, selection, strict=True) if i != FLOAT))

    return replace(problem, loss=loss), rows


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("evaluations", [60, 400])
def test_losses_that_follow_a_power_law_are_extrapolated_exactly(exponent, evaluations):
    problem, rows = power_law(cascade(8, 13, bits=2.0, evaluations=evaluations), exponent)
    np.testing.assert_allclose(measure(Ledger(problem)), rows, rtol=1e-6)


def test_one_rate_per_unit_is_extended_in_proportion_to_the_distortion():
    problem, rows = power_law(cascade(8, 13, bits=2.0, evaluations=25), 1.0)
    np.testing.assert_allclose(measure(Ledger(problem)), rows, rtol=1e-9)


@pytest.mark.parametrize("broken", [math.inf, math.nan, -1.0, 0.0])
def test_odd_measurements_leave_rows_that_can_be_planned_with(broken):
    problem = cascade(6, 13, evaluations=100)
    odd = replace(problem, loss=lambda s: broken if s[0] != FLOAT else problem.loss(s))
    for row in measure(Ledger(odd)):
        assert 0 < min(row) <= max(row) < math.inf
        assert row == sorted(row, reverse=True)


def slope(problem: Problem, row: list[float], unit: int) -> float:
    """How fast losses fall with the bytes around the equal choice of a unit."""
    low, high = problem.equal[unit] - 2, problem.equal[unit] + 2
    choices = problem.units[unit].choices
    return (row[low] - row[high]) / (choices[high].size_bytes - choices[low].size_bytes)


@pytest.mark.parametrize("seed", range(5))
def test_without_trust_a_byte_is_worth_the_same_in_every_unit_around_the_equal_plan(seed):
    problem = cascade(8, 13, seed=seed, bits=1.5)
    fair = believed(problem, measure(Ledger(problem)), 0.0)
    slopes = [slope(problem, row, unit) for unit, row in enumerate(fair)]
    assert slopes == pytest.approx([slopes[0]] * len(slopes))


@pytest.mark.parametrize("trust", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_belief_lies_between_the_measurement_and_the_equal_plan_whatever_the_scale(seed, trust):
    problem = cascade(8, 13, seed=seed, bits=1.5)
    values = measure(Ledger(problem))
    fair, drawn = np.log(believed(problem, values, 0.0)), np.log(believed(problem, values, trust))
    np.testing.assert_allclose(drawn, (1 - trust) * fair + trust * np.log(values), rtol=1e-9)
    louder = believed(problem, [[7 * value for value in row] for row in values], trust)
    np.testing.assert_allclose(louder, np.exp(drawn) * 7**trust, rtol=1e-9)


def test_units_with_one_choice_or_without_distortion_can_be_believed_too():
    problem = cascade(4, 13, bits=1.5)
    one = replace(problem.units[0], choices=problem.units[0].choices[:1])
    free = replace(problem.units[1], choices=tuple(replace(c, distortion=0.0) for c in problem.units[1].choices))
    odd = replace(problem, units=(one, free, *problem.units[2:]), equal=(0, 12, *problem.equal[2:]))
    for row in believed(odd, [[1.0] * len(unit.choices) for unit in odd.units], 0.5):
        assert 0 < min(row) <= max(row) < math.inf
        assert row == sorted(row, reverse=True)
