"""Random plans around the budget: what a search must beat to be called one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.selections import Ints, smallest

_REACH = 3
_PATIENCE = 50


@dataclass(frozen=True)
class RandomAllocator:
    """The best of as many random feasible plans as there are evaluations.

    Args:
        seed: seed of the draws.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "random"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the best random selection.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        smallest(problem)
        ledger, repeats = Ledger(problem), 0
        for plan in ledger.foreseen(_drawn(problem, np.random.default_rng(self.seed))):
            if ledger.left <= 0 or repeats >= _PATIENCE:
                break
            repeats = repeats + 1 if plan in ledger.known else 0
            ledger.loss(plan)
        return ledger.allocation(ledger.best or problem.equal)


def _drawn(problem: Problem, generator: np.random.Generator) -> Iterator[Selection]:
    while True:
        yield random_selection(problem, problem.equal, generator)


def random_selection(
    problem: Problem, centre: Selection, generator: np.random.Generator, *, reach: int = _REACH
) -> Selection:
    """Draw a feasible plan: random steps off `centre`, then random repairs until the bytes are just spent.

    Args:
        problem: gives units and capacity; its smallest choices must fit.
        centre: the selection around which is drawn.
        generator: source of the draws.
        reach: largest number of steps off the centre before repairs.

    Returns:
        A selection within the capacity in which no single upgrade fits.
    """
    return repaired(problem, np.array(centre) + generator.integers(-reach, reach + 1, len(centre)), generator)


def repaired(problem: Problem, wanted: Ints, generator: np.random.Generator) -> Selection:
    """The wanted choices, random ones lowered until they fit, then random ones raised until the bytes are just spent.

    Args:
        problem: gives units and capacity; its smallest choices must fit.
        wanted: a number for every unit, also beyond its choices, shape (units,).
        generator: source of the draws.

    Returns:
        A selection within the capacity in which no single upgrade fits.
    """
    last = np.array([len(unit.choices) - 1 for unit in problem.units])
    chosen = np.clip(wanted, 0, last)
    while not problem.fits(tuple(chosen)):
        chosen[generator.choice(np.flatnonzero(chosen > 0))] -= 1
    return _topped_up(problem, chosen, last, generator)


def _topped_up(problem: Problem, chosen: Ints, last: Ints, generator: np.random.Generator) -> Selection:
    left = problem.capacity_bytes - problem.size_bytes(tuple(chosen))
    grown = True
    while grown:
        grown = False
        for unit in generator.permutation(np.flatnonzero(chosen < last)):
            choices = problem.units[unit].choices
            step = choices[chosen[unit] + 1].size_bytes - choices[chosen[unit]].size_bytes
            if step <= left:
                chosen[unit], left, grown = chosen[unit] + 1, left - step, True
    return tuple(chosen.tolist())
