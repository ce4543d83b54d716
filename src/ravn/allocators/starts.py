"""Where the searches start and end: the better of two cheap plans, and the plan that generalises best."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from ravn.allocators.knapsack import solve, solve_all
from ravn.allocators.ledger import JointLedger, Ledger
from ravn.allocators.problem import Allocation, Selection
from ravn.allocators.selections import Table, sizes, smallest, table_of
from ravn.allocators.sensitivity import measure

_FINALISTS = 12


@dataclass(frozen=True)
class Starts:
    """Two cheap plans and the additive losses behind them.

    Args:
        table: measured additive losses and sizes.
        plans: the equal plan and the knapsack's plan, best true loss first.
    """

    table: Table
    plans: tuple[Selection, ...]


def cheap_starts(ledger: Ledger) -> Starts:
    """Measure sensitivities, solve the knapsack and rank its plan against the equal plan.

    Raises:
        BudgetError: even the smallest choices exceed the capacity.
    """
    problem = ledger.problem
    smallest(problem)
    values = measure(ledger)
    table = table_of(problem, values)
    return _ranked(ledger, table, {problem.equal, solve(values, sizes(problem), problem.capacity_bytes)})


def joint_starts(ledger: JointLedger) -> list[Starts]:
    """The cheap starts of several budgets, on sensitivities that are measured once, over the span of all.

    Raises:
        BudgetError: even the smallest choices exceed a capacity.
    """
    problems = [part.problem for part in ledger.parts]
    for problem in problems:
        smallest(problem)
    tightest = min(problems, key=lambda problem: problem.capacity_bytes)
    values = measure(ledger, span=(tightest.equal, ledger.problem.equal) if len(problems) > 1 else None)
    table = table_of(ledger.problem, values)
    plans = solve_all(values, sizes(ledger.problem), [problem.capacity_bytes for problem in problems])
    return [_ranked(ledger, table, {p.equal, plan}) for p, plan in zip(problems, plans, strict=True)]


def _ranked(ledger: Ledger, table: Table, plans: Collection[Selection]) -> Starts:
    ledger.announce(sorted(set(plans)))
    paid = {plan: ledger.loss(plan) for plan in sorted(set(plans)) if ledger.affords(plan)}
    rank = sorted(set(plans), key=lambda plan: (paid.get(plan, float("inf")), table.value(plan), plan))
    return Starts(table, tuple(rank))


def finalist(ledger: Ledger, starts: Starts, *others: Selection) -> Selection:
    """The plan that the holdout images choose: a start, one of the last that a search held for the best, or others.

    A search learns its images by heart, the longer the more; going back along its way is early stopping.
    """
    plans = dict.fromkeys((*starts.plans, *ledger.incumbents[-_FINALISTS:], *others))
    ledger.problem.announce_holdout(list(plans))
    return min(plans, key=ledger.problem.holdout_loss)


def conclusion(ledger: Ledger, starts: Starts, *others: Selection) -> Allocation:
    """What a search returns: the plan that the holdout images choose, and whether it found that plan itself."""
    selection = finalist(ledger, starts, *others)
    return replace(ledger.allocation(selection), outdone=selection in starts.plans)
