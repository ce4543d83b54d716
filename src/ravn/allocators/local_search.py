"""Knapsack plus local search on true evaluations: the bar that reinforcement learning must clear."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.selections import Table, swapped
from ravn.allocators.starts import cheap_starts, conclusion

_AT_ONCE = 64


@dataclass(frozen=True)
class LocalSearchAllocator:
    """First improvement over swaps: one unit a step up, another down until it fits, the rest filled.

    In the end the holdout loss decides between the plans on the way.

    Args:
        seed: seed of the order in which swaps are tried.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "local"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the plan on the way that is best on the holdout images.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        ledger = Ledger(problem)
        starts = cheap_starts(ledger)
        best, generator, improved = starts.plans[0], np.random.default_rng(self.seed), True
        while improved and ledger.affords(best):
            improved = False
            for plan in ledger.foreseen(swaps(starts.table, best, problem.capacity_bytes, generator)):
                if ledger.left <= 0:
                    break
                if ledger.loss(plan) < ledger.loss(best):
                    best, improved = plan, True
                    break
        return conclusion(ledger, starts)


def swaps(table: Table, selection: Selection, capacity: int, generator: np.random.Generator) -> Iterator[Selection]:
    """All feasible plans one swap away, in random order.

    Args:
        table: additive losses, for filling what a swap leaves, and sizes.
        selection: a plan within the capacity.
        capacity: bytes that may be spent.
        generator: draws the order.

    Yields:
        Plans within the capacity that differ from `selection`.
    """
    pairs = np.stack(np.divmod(generator.permutation(len(selection) ** 2), len(selection)), 1)
    for start in range(0, len(pairs), _AT_ONCE):
        for row in swapped(table, selection, pairs[start : start + _AT_ONCE], capacity).tolist():
            yield tuple(row)
