"""Exact multiple-choice knapsack on additive losses: the strongest plan that ignores interactions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.selections import Floats, Ints, Table, distortions, filled, sizes, smallest, table_of
from ravn.allocators.sensitivity import believed, measure
from ravn.errors import BudgetError

_EXACT_CELLS = 1 << 18
_COARSE_CELLS = 1 << 16

TRUSTS = (1.0, 0.5, 0.25)
"""How far measured losses are trusted, one plan each; true evaluations decide which was right."""


def solve(values: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], capacity: int) -> Selection:
    """Minimise sum_i values[i][s_i] subject to sum_i sizes[i][s_i] <= capacity.

    Args:
        values: loss that each choice adds, one row per unit.
        sizes: bytes of each choice, one row per unit.
        capacity: bytes that may be spent.

    Returns:
        One choice per unit.

    Raises:
        BudgetError: the smallest choices exceed the capacity.
    """
    return solve_all(values, sizes, [capacity])[0]


def solve_all(
    values: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], capacities: Sequence[int]
) -> list[Selection]:
    """Do what `solve` does for several capacities, in the time of the largest.

    A dynamic programme over bytes: exact up to 2^18 bytes of slack above the smallest choices. Beyond that, sizes are
    rounded up to a multiple that leaves 2^16 states, so the capacities still hold, and the bytes that rounding wasted
    are spent afterwards.

    Raises:
        BudgetError: the smallest choices exceed a capacity.
    """
    floor = [min(row) for row in sizes]
    slacks = [capacity - sum(floor) for capacity in capacities]
    if min(slacks) < 0:
        raise BudgetError(
            f"a capacity of {min(capacities)} bytes can't be met; the smallest choices take {sum(floor)} bytes",
            sum(floor),
        )
    grain = 1 if max(slacks) <= _EXACT_CELLS else -(-max(slacks) // _COARSE_CELLS)
    extras = [-(-(np.array(row) - low) // grain) for row, low in zip(sizes, floor, strict=True)]
    choices = _programme([np.array(row, dtype=np.float64) for row in values], extras, max(slacks) // grain)
    plans = [_backtracked(choices, extras, slack // grain) for slack in slacks]
    if grain == 1:
        return plans
    table = Table.of(values, sizes)
    return [filled(table, plan, capacity) for plan, capacity in zip(plans, capacities, strict=True)]


_Column = np.ndarray[tuple[int], np.dtype[np.int16]]


def _programme(values: list[Floats], extras: list[Ints], cells: int) -> list[_Column]:
    """The choice of every unit in the best selection of it and all before, for every number of bytes."""
    best = np.zeros(cells + 1)
    choices = []
    for value, extra in zip(values, extras, strict=True):
        better, choice = np.full(cells + 1, np.inf), np.zeros(cells + 1, dtype=np.int16)
        for k in np.flatnonzero(extra <= cells):
            total = best[: cells + 1 - extra[k]] + value[k]
            wins = total < better[extra[k] :]
            better[extra[k] :][wins], choice[extra[k] :][wins] = total[wins], k
        best = better
        choices.append(choice)
    return choices


def _backtracked(choices: list[_Column], extras: list[Ints], left: int) -> Selection:
    selection = []
    for choice, extra in zip(reversed(choices), reversed(extras), strict=True):
        selection.append(int(choice[left]))
        left -= int(extra[selection[-1]])
    return tuple(reversed(selection))


def cheap_plans(ledger: Ledger) -> dict[Selection, Table]:
    """Measure sensitivities beside the equal plan or that of least distortion, and solve the knapsack on them.

    Raises:
        BudgetError: even the smallest choices exceed the capacity.
    """
    problem = ledger.problem
    smallest(problem)
    damage = distortions(problem)
    table = table_of(problem, damage)
    guessed = solve(damage, sizes(problem), problem.capacity_bytes)
    base = ranked(ledger, {problem.equal, guessed}, table)[0]
    measured = measure(ledger, base=base)
    plans = {guessed: table}
    for trust in TRUSTS:
        values = believed(problem, measured, trust, base)
        plans.setdefault(solve(values, sizes(problem), problem.capacity_bytes), table_of(problem, values))
    return plans


def ranked(ledger: Ledger, plans: Iterable[Selection], table: Table) -> list[Selection]:
    """Plans by their true losses, as far as these can be paid for, then by additive ones; the best first."""
    wanted = sorted(set(plans))
    ledger.announce(wanted)
    paid = {plan: ledger.loss(plan) for plan in wanted if ledger.affords(plan)}
    return sorted(wanted, key=lambda plan: (paid.get(plan, math.inf), table.value(plan), plan))


@dataclass(frozen=True)
class KnapsackAllocator:
    """The exact optimum of the measured, additive losses, as far as true evaluations bear them out.

    Args:
        seed: unused; the method draws nothing.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "knapsack"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the optimal selection under additive losses.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        ledger = Ledger(problem)
        plans = cheap_plans(ledger)
        return ledger.allocation(ranked(ledger, plans, next(iter(plans.values())))[0])
