"""Knapsack plus local search on true evaluations: the bar that reinforcement learning must clear."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.selections import Table, filled
from ravn.allocators.starts import cheap_starts


@dataclass(frozen=True)
class LocalSearchAllocator:
    """First improvement over swaps: one unit a step up, another down until it fits, the rest filled.

    Args:
        seed: seed of the order in which swaps are tried.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "local"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the best plan on the way.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        ledger = Ledger(problem)
        starts = cheap_starts(ledger)
        best, generator, improved = starts.plans[0], np.random.default_rng(self.seed), True
        while improved and ledger.affords(best):
            improved = False
            for plan in swaps(starts.table, best, problem.capacity_bytes, generator):
                if ledger.left <= 0:
                    break
                if ledger.loss(plan) < ledger.loss(best):
                    best, improved = plan, True
                    break
        return ledger.allocation(best)


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
    units = len(selection)
    for pair in generator.permutation(units * units):
        up, down = divmod(int(pair), units)
        plan = _swapped(table, selection, (up, down), capacity)
        if plan is not None and plan != selection:
            yield plan


def _swapped(table: Table, selection: Selection, pair: tuple[int, int], capacity: int) -> Selection | None:
    chosen, (up, down) = list(selection), pair
    chosen[up] += 1
    if chosen[up] >= table.sizes.shape[1] or not np.isfinite(table.values[up, chosen[up]]):
        return None
    while table.size_bytes(tuple(chosen)) > capacity:
        if up == down or chosen[down] == 0:
            return None
        chosen[down] -= 1
    return filled(table, tuple(chosen), capacity)
