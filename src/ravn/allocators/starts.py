"""Where the searches start and end: the best of a few cheap plans, and the plan that generalises best."""

from dataclasses import dataclass, replace

from ravn.allocators.knapsack import cheap_plans, ranked, solve_all
from ravn.allocators.ledger import JointLedger, Ledger
from ravn.allocators.problem import Allocation, Selection
from ravn.allocators.selections import Table, sizes, smallest, table_of
from ravn.allocators.sensitivity import measure

_FINALISTS = 12


@dataclass(frozen=True)
class Starts:
    """Cheap plans and the additive losses behind them.

    Args:
        table: additive losses and sizes: measured, and trusted as far as gave the knapsack its best plan.
        plans: the equal plan and the knapsack's, best true loss first.
    """

    table: Table
    plans: tuple[Selection, ...]


def cheap_starts(ledger: Ledger) -> Starts:
    """Measure sensitivities, solve the knapsack and rank its plans against the equal plan.

    Raises:
        BudgetError: even the smallest choices exceed the capacity.
    """
    tables = cheap_plans(ledger)
    rank = ranked(ledger, {ledger.problem.equal, *tables}, next(iter(tables.values())))
    return Starts(next(tables[plan] for plan in rank if plan in tables), tuple(rank))


def joint_starts(ledger: JointLedger) -> list[Starts]:
    """The cheap starts of several budgets, on sensitivities that are measured once, over the span of all.

    Raises:
        BudgetError: even the smallest choices exceed a capacity.
    """
    if len(ledger.parts) == 1:
        return [cheap_starts(ledger)]
    problems = [part.problem for part in ledger.parts]
    for problem in problems:
        smallest(problem)
    tightest = min(problems, key=lambda problem: problem.capacity_bytes)
    values = measure(ledger, span=(tightest.equal, ledger.problem.equal))
    table = table_of(ledger.problem, values)
    plans = solve_all(values, sizes(ledger.problem), [problem.capacity_bytes for problem in problems])
    pairs = zip(problems, plans, strict=True)
    return [Starts(table, tuple(ranked(ledger, {p.equal, plan}, table))) for p, plan in pairs]


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
