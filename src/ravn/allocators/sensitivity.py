"""How much each choice hurts: measured at a few rates, filled in between."""

from collections.abc import Sequence

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import FLOAT, Problem, Selection, Unit
from ravn.allocators.selections import Floats, distortions

_SHARE = 0.4
_MOST_RATES = 4
_ASIDE = (-0.75, 0.5, -1.5)
"""Where a unit is measured beside the equal plan, in bits; the first ones first."""

_NEIGHBOURHOOD = 2
"""Choices on either side of the equal one over which distortion falls with the bytes."""

_SLOPES = (0.25, 2.5)
_TINY = 1e-12


def measure(
    ledger: Ledger,
    *,
    share: float = _SHARE,
    rates: int = _MOST_RATES,
    base: Selection | None = None,
    span: tuple[Selection, Selection] | None = None,
) -> list[list[float]]:
    """Predict the loss increase of every (unit, choice).

    It is measured at up to `rates` choices per unit, and log(increase) is interpolated against log(distortion). With
    too few evaluations for one rate per unit, distortions stand in.

    Args:
        ledger: pays for the measurements.
        share: largest share of the evaluations left that may be spent.
        rates: most choices measured per unit.
        base: plan beside which choices are measured; None for the equal one.
        span: equal selections of the smallest and the largest of several budgets.

    Returns:
        One row per unit, one positive number per choice, never rising with the size.
    """
    problem = ledger.problem
    count = min(rates, int(share * ledger.left - 1) // max(1, len(problem.units)))
    if count < 1:
        return [_monotone(np.array(row)).tolist() for row in distortions(problem)]
    points, raises = _beside(ledger, base or problem.equal, count) if span is None else _alone(ledger, count, span)
    floor = max(
        _TINY,
        1e-3 * float(np.median([r for row in raises for r in row if np.isfinite(r)] or [0.0])),
    )
    known = [np.clip(np.nan_to_num(row, nan=0.0, posinf=1e12), floor, 1e12) for row in raises]
    return [_row(problem, i, points[i], row) for i, row in enumerate(known)]


def believed(
    problem: Problem, values: Sequence[Sequence[float]], trust: float, base: Selection | None = None
) -> list[list[float]]:
    """Measured losses, drawn towards those under which a cheap selection is the best one.

    At low rates, how one rounding happens to fall moves the loss by as much as a unit's choice does, and a knapsack
    on the measurements alone picks the luck. Steps by sensitivity are near the optimum there (docs/experiments.md): if
    they were it, each unit's distortion would count as much as makes a byte worth the same everywhere.

    Args:
        problem: units and the equal selection.
        values: measured losses, one row per unit; their scale doesn't matter.
        trust: share of the measurements in the geometric mean, 0 to 1.
        base: the cheap selection; None for the equal one.

    Returns:
        Rows like those of `values`, in a scale of their own.
    """
    rows = []
    for unit, chosen, row in zip(problem.units, base or problem.equal, values, strict=True):
        low, high = max(chosen - _NEIGHBOURHOOD, 0), min(chosen + _NEIGHBOURHOOD, len(unit.choices) - 1)
        damage = np.array([max(choice.distortion, _TINY) for choice in unit.choices])
        more_bytes = unit.choices[high].size_bytes - unit.choices[low].size_bytes
        fair = damage * max(more_bytes, 1) / max(float(damage[low] - damage[high]), _TINY)
        rows.append(_monotone(fair ** (1 - trust) * np.array(row) ** trust).tolist())
    return rows


def _beside(ledger: Ledger, base: Selection, count: int) -> tuple[list[list[int]], list[list[float]]]:
    """Choices of every unit, and their increases over its floating point while all others are as in a plan.

    Errors interact, so that what counts is what a unit's error adds to those of the others. A finer choice of one unit
    may exceed the capacity: it is measured, and is no plan.
    """
    units = ledger.problem.units
    points = [_around(unit, base[i], count) for i, unit in enumerate(units)]
    floats = [_moved(base, i, FLOAT) for i in range(len(units))]
    plans = [[_moved(base, i, choice) for choice in chosen] for i, chosen in enumerate(points)]
    ledger.announce([base, *floats, *(plan for row in plans for plan in row)])
    ledger.loss(base)
    without = [ledger.loss(plan) for plan in floats]
    return points, [[ledger.loss(plan) - without[i] for plan in row] for i, row in enumerate(plans)]


def _around(unit: Unit, chosen: int, count: int) -> list[int]:
    """A choice and `count` - 1 beside it, ascending; one more measurement is the unit's floating point."""
    bits = np.array([choice.bits for choice in unit.choices])
    return sorted({chosen, *(int(np.abs(bits - (bits[chosen] + move)).argmin()) for move in _ASIDE[: count - 1])})


def _alone(ledger: Ledger, count: int, span: tuple[Selection, Selection]) -> tuple[list[list[int]], list[list[float]]]:
    """Choices of every unit from one end of a span to the other, and their increases while all others are in float."""
    problem = ledger.problem
    floating = (FLOAT,) * len(problem.units)
    points = [_points(unit, span[0][i], span[1][i], count) for i, unit in enumerate(problem.units)]
    alone = [[_moved(floating, i, choice) for choice in chosen] for i, chosen in enumerate(points)]
    ledger.announce([floating, *(plan for row in alone for plan in row)])
    base = ledger.loss(floating)
    return points, [[ledger.loss(plan) - base for plan in row] for row in alone]


def _moved(selection: Selection, unit: int, choice: int) -> Selection:
    return (*selection[:unit], choice, *selection[unit + 1 :])


def _points(unit: Unit, low: int, high: int, count: int) -> list[int]:
    bits = np.array([choice.bits for choice in unit.choices])
    reach = max(bits[high] - bits[low], count - 1)
    wanted = (bits[low] + bits[high]) / 2 + (np.arange(count) - (count - 1) / 2) * (reach / max(1, count - 1))
    return sorted({int(np.abs(bits - b).argmin()) for b in wanted})


def _row(problem: Problem, unit: int, points: list[int], raises: Floats) -> list[float]:
    x = np.log([max(c.distortion, _TINY) for c in problem.units[unit].choices])
    knots = np.minimum.accumulate(x[points])[::-1]
    return _monotone(np.exp(_interpolated(x, knots, np.log(raises)[::-1]))).tolist()


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
