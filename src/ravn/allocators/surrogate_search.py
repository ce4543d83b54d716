"""Search on a model of the loss: walk downhill on a cheap surrogate, pay for where it ends, learn, walk again."""

import math
from dataclasses import dataclass

import numpy as np

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.selections import Table, swapped
from ravn.allocators.starts import Starts, cheap_starts, conclusion
from ravn.allocators.surrogate import Surrogate

_PATIENCE = 5
_MOVES, _STEPS = 128, 2
_PARENTS = 4


@dataclass(frozen=True)
class SurrogateAllocator:
    """Bayesian optimisation without a policy: local search on the surrogate's lower confidence bounds.

    Args:
        seed: seed of the moves.
        bought: plans paid for between two fits of the surrogate.
        optimism: mean of the standard deviations that are taken off the predictions; every walk draws its own.
    """

    seed: int = 0
    bought: int = 4
    optimism: float = 3.0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "surrogate"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the plan on the way that is best on the holdout images.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        ledger = Ledger(problem)
        starts = cheap_starts(ledger)
        generator, idle = np.random.default_rng(self.seed), 0
        while ledger.left > 0 and idle < _PATIENCE and modelled(ledger):
            surrogate = self.model(ledger, starts)
            paid = len(ledger.known)
            for _ in range(min(self.bought, ledger.left)):
                self._step(ledger, starts, surrogate, generator)
            idle = 0 if len(ledger.known) > paid else idle + 1
        return conclusion(ledger, starts)

    def model(self, ledger: Ledger, starts: Starts) -> Surrogate:
        """The model of the loss, fitted to all paid plans."""
        return Surrogate(ledger.problem, starts.table, ledger.feasible())

    def _step(self, ledger: Ledger, starts: Starts, surrogate: Surrogate, generator: np.random.Generator) -> None:
        best = sorted(ledger.feasible().items(), key=lambda item: (item[1], item[0]))[:_PARENTS]
        start = best[generator.integers(len(best))][0]
        optimism = self.optimism * generator.exponential()
        walk = descended(surrogate, starts.table, start, ledger.problem.capacity_bytes, optimism, generator)
        new = [plan for plan in walk if plan not in ledger.known]
        if new:
            ledger.loss(min(new, key=lambda plan: (walk[plan], plan)))


@dataclass(frozen=True)
class QuadraticAllocator(SurrogateAllocator):
    """The knapsack with its additive losses corrected by pairs: a quadratic form of the units' error amplitudes.

    The form is fitted to all paid plans by ridge regression towards the additive one, and minimised by local search.
    """

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "quadratic"

    def model(self, ledger: Ledger, starts: Starts) -> Surrogate:
        """The quadratic form."""
        return Surrogate(ledger.problem, starts.table, ledger.feasible(), pairs_only=True)


def modelled(ledger: Ledger) -> bool:
    """Whether a model of log(loss) has something to begin with."""
    return ledger.best is not None and 0 < ledger.known[ledger.best] < math.inf


def descended(
    surrogate: Surrogate,
    table: Table,
    start: Selection,
    capacity: int,
    optimism: float,
    generator: np.random.Generator,
) -> dict[Selection, float]:
    """Walk from a plan to the best of random swaps, and on from there, while the prediction falls.

    Args:
        surrogate: predicts log(loss).
        table: additive losses and sizes.
        start: a plan within the capacity.
        capacity: bytes that may be spent.
        optimism: standard deviations taken off the predictions.
        generator: draws the swaps.

    Returns:
        All plans that were looked at, the start among them, and their optimistic predictions.
    """
    seen: dict[Selection, float] = {}

    def look(plans: list[Selection]) -> Selection:
        """The best of some plans."""
        mean, deviation = surrogate.predict(plans)
        scores = dict(zip(plans, (mean - optimism * deviation).tolist(), strict=True))
        seen.update(scores)
        return min(plans, key=lambda plan: (scores[plan], plan))

    here, count = look([start]), len(start) ** 2
    for _ in range(_STEPS):
        drawn = generator.choice(count, min(_MOVES, count), replace=False)
        rows = swapped(table, here, np.stack(np.divmod(drawn, len(start)), 1), capacity)
        there = look([tuple(row) for row in np.unique(rows, axis=0).tolist()]) if len(rows) else here
        if seen[there] >= seen[here]:
            break
        here = there
    return seen
