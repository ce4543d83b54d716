"""From the smallest choices upwards, each time the best predicted gain per byte."""

from dataclasses import dataclass

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem
from ravn.allocators.selections import filled, smallest, table_of
from ravn.allocators.sensitivity import measure


@dataclass(frozen=True)
class GreedyAllocator:
    """Greedy ascent on the measured, additive losses.

    Args:
        seed: unused; the method draws nothing.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "greedy"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the greedy selection.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        start = smallest(problem)
        ledger = Ledger(problem)
        selection = filled(table_of(problem, measure(ledger)), start, problem.capacity_bytes)
        if ledger.affords(selection):
            ledger.loss(selection)
        return ledger.allocation(selection)
