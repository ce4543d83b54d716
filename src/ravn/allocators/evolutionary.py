"""Evolution of plans: the best ones so far are crossed and changed a little."""

from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.random_search import random_selection, repaired
from ravn.allocators.starts import cheap_starts, conclusion

_PATIENCE = 50


@dataclass(frozen=True)
class EvolutionaryAllocator:
    """Steady-state genetic algorithm: two of the fittest plans, uniform crossover, a few steps, repair.

    Args:
        seed: seed of all draws.
        founders: random plans around the best start, before evolution begins.
        parents: how many of the best plans may have offspring.
        changes: units that a child changes by one step, on average.
    """

    seed: int = 0
    founders: int = 16
    parents: int = 12
    changes: float = 2.0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "evolutionary"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the plan on the way that is best on the holdout images.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        ledger = Ledger(problem)
        starts = cheap_starts(ledger)
        generator, repeats = np.random.default_rng(self.seed), 0
        founders = len(ledger.feasible()) + self.founders
        while ledger.left > 0 and repeats < _PATIENCE:
            paid = ledger.feasible()
            # Founders don't depend on one another's losses, children do.
            missing = min(founders - len(paid), ledger.left, _PATIENCE - repeats)
            drawn = [random_selection(problem, starts.plans[0], generator, reach=1) for _ in range(missing)]
            ledger.announce(drawn)
            best = sorted(paid, key=lambda s: (paid[s], s))[: self.parents]
            for plan in drawn or [self._child(problem, best, generator)]:
                repeats = repeats + 1 if plan in ledger.known else 0
                ledger.loss(plan)
        return conclusion(ledger, starts)

    def _child(self, problem: Problem, parents: list[Selection], generator: np.random.Generator) -> Selection:
        mother, father = (np.array(parents[generator.integers(len(parents))]) for _ in range(2))
        units = len(mother)
        crossed = np.where(generator.random(units) < 0.5, mother, father)
        steps = generator.choice([-1, 1], units) * (generator.random(units) < self.changes / units)
        return repaired(problem, crossed + steps, generator)
