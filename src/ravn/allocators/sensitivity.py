"""How much each choice hurts when it is the only one: measured at a few rates, filled in between."""

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import FLOAT, Problem, Selection, Unit
from ravn.allocators.selections import Floats, distortions

_SHARE = 0.4
_MOST_RATES = 4
_SLOPES = (0.25, 2.5)
_TINY = 1e-12


def measure(
    ledger: Ledger, *, share: float = _SHARE, rates: int = _MOST_RATES, span: tuple[Selection, Selection] | None = None
) -> list[list[float]]:
    """Predict the loss increase of every (unit, choice), all other units left in floating point.

    The increase is measured at up to `rates` choices per unit around the equal selection, a bit apart, or evenly from
    one end of a span to the other where that is wider; and log(increase) is interpolated against log(distortion). With
    too few evaluations for one rate per unit, distortions stand in.

    Args:
        ledger: pays for the measurements.
        share: largest share of the evaluations left that may be spent.
        rates: most choices measured per unit.
        span: equal selections of the smallest and the largest of several budgets, instead of the problem's.

    Returns:
        One row per unit, one positive number per choice, never rising with the size.
    """
    problem = ledger.problem
    count = min(rates, int(share * ledger.left - 1) // max(1, len(problem.units)))
    if count < 1:
        return [_monotone(np.array(row)).tolist() for row in distortions(problem)]
    floating = (FLOAT,) * len(problem.units)
    low, high = span or (problem.equal, problem.equal)
    points = [_points(unit, low[i], high[i], count) for i, unit in enumerate(problem.units)]
    alone = [[(*floating[:i], choice, *floating[i + 1 :]) for choice in chosen] for i, chosen in enumerate(points)]
    ledger.announce([floating, *(selection for row in alone for selection in row)])
    base = ledger.loss(floating)
    raises = [[ledger.loss(selection) - base for selection in row] for row in alone]
    floor = max(
        _TINY,
        1e-3 * float(np.median([r for row in raises for r in row if np.isfinite(r)] or [0.0])),
    )
    return [_row(problem, i, points[i], np.clip(raises[i], floor, 1e12)) for i in range(len(points))]


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
