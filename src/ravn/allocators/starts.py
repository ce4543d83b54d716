"""Where the searches start: the better of the knapsack's plan and the equal plan."""

from dataclasses import dataclass

from ravn.allocators.knapsack import solve
from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Selection
from ravn.allocators.selections import Table, sizes, smallest, table_of
from ravn.allocators.sensitivity import measure


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
    plans = {problem.equal, solve(values, sizes(problem), problem.capacity_bytes)}
    paid = {plan: ledger.loss(plan) for plan in sorted(plans) if ledger.affords(plan)}
    rank = sorted(plans, key=lambda plan: (paid.get(plan, float("inf")), table.value(plan), plan))
    return Starts(table, tuple(rank))
