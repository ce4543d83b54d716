"""How much each choice hurts: measured at a few rates, filled in between."""

from collections.abc import Sequence

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Problem, Selection, Unit
from ravn.allocators.selections import Floats, distortions

_SHARE = 0.4
_MOST_RATES = 4
_ASIDE = (-0.75, 0.5, -1.5)
"""Where a unit is measured beside the equal plan, in bits; the first ones first."""

_SLOPES = (0.25, 2.5)
_TINY = 1e-12


def measure(
    ledger: Ledger, *, share: float = _SHARE, rates: int = _MOST_RATES, beside: Sequence[Problem] | None = None
) -> list[list[float]]:
    """Predict the loss increase of every (unit, choice).

    It is measured at up to `rates` choices per unit, and log(increase) is interpolated against log(distortion). With
    too few evaluations for one rate per unit, distortions stand in.

    Args:
        ledger: pays for the measurements.
        share: largest share of the evaluations left that may be spent.
        rates: most choices measured per unit.
        beside: the problems of several budgets, beside whose equal selections units are measured; None for the
            ledger's alone.

    Returns:
        One row per unit, one positive number per choice, never rising with the size.
    """
    problem = ledger.problem
    count = min(rates, int(share * ledger.left - 1) // max(1, len(problem.units)))
    if count < 1:
        return [_monotone(np.array(row)).tolist() for row in distortions(problem)]
    budgets = _spread(sorted(beside or [problem], key=lambda budget: budget.capacity_bytes), count)
    found: list[dict[int, float]] = [{} for _ in problem.units]
    for budget in budgets:
        for known, raises in zip(found, _beside(ledger, budget, count // len(budgets)), strict=True):
            known.update(raises)
    finite = [raised for known in found for raised in known.values() if np.isfinite(raised)]
    floor = max(_TINY, 1e-3 * float(np.median(finite or [0.0])))
    return [_row(problem, unit, dict(sorted(known.items())), floor) for unit, known in enumerate(found)]


def _spread(budgets: Sequence[Problem], count: int) -> list[Problem]:
    """Up to `count` of the budgets, from the smallest to the largest; the middle one, if one is all."""
    many = min(count, len(budgets))
    places = np.linspace(0, len(budgets) - 1, many) if many > 1 else [(len(budgets) - 1) / 2]
    return [budgets[round(place)] for place in places]


def _beside(ledger: Ledger, budget: Problem, count: int) -> list[dict[int, float]]:
    """Choices of every unit, and their increases over its floating point while all others are in the equal selection.

    Errors interact, so that what counts is what a unit's error adds to those of the others. A finer choice of one unit
    may exceed the capacity: it is measured, and is no plan.
    """
    equal, units = budget.equal, budget.units
    chosen = [_around(unit, equal[i], count) for i, unit in enumerate(units)]
    floats = [_moved(equal, i, budget.floating) for i in range(len(units))]
    plans = [[_moved(equal, i, choice) for choice in row] for i, row in enumerate(chosen)]
    ledger.announce([equal, *floats, *(plan for row in plans for plan in row)])
    ledger.loss(equal)
    base = [ledger.loss(plan) for plan in floats]
    raises = [[ledger.loss(plan) - base[i] for plan in row] for i, row in enumerate(plans)]
    return [dict(zip(*row, strict=True)) for row in zip(chosen, raises, strict=True)]


def _around(unit: Unit, equal: int, count: int) -> list[int]:
    """The equal choice and `count` - 1 beside it, ascending; one more measurement is the unit's floating point."""
    bits = np.array([choice.bits for choice in unit.choices])
    return sorted({equal, *(int(np.abs(bits - (bits[equal] + move)).argmin()) for move in _ASIDE[: count - 1])})


def _moved(selection: Selection, unit: int, choice: int) -> Selection:
    return (*selection[:unit], choice, *selection[unit + 1 :])


def _row(problem: Problem, unit: int, raises: dict[int, float], floor: float) -> list[float]:
    """The increase at every choice, from those that were measured, in the order of the choices."""
    x = np.log([max(c.distortion, _TINY) for c in problem.units[unit].choices])
    knots = np.minimum.accumulate(x[list(raises)])[::-1]
    heights = np.clip(np.nan_to_num(list(raises.values()), nan=0.0, posinf=1e12), floor, 1e12)
    return _monotone(np.exp(_interpolated(x, knots, np.log(heights)[::-1]))).tolist()


def _interpolated(x: Floats, knots: Floats, heights: Floats) -> Floats:
    """Piecewise linear through the knots; outside them the line goes on with the slope of the nearest piece."""
    ends = [1.0, 1.0]
    if len(knots) > 1:
        run = np.maximum(np.diff(knots), _TINY)
        ends = np.clip((np.diff(heights) / run)[[0, -1]], *_SLOPES).tolist()
    inside: Floats = np.interp(x, knots, heights)
    below, above = np.minimum(x - knots[0], 0), np.maximum(x - knots[-1], 0)
    return inside + ends[0] * below + ends[1] * above


def _monotone(row: Floats) -> Floats:
    rising: Floats = np.maximum.accumulate(row[::-1])[::-1]
    return rising
