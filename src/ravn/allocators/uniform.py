"""The same nominal bits everywhere, what most tools do; and steps that follow the gradients, which is better."""

from dataclasses import dataclass

from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection, Unit
from ravn.allocators.selections import smallest


@dataclass(frozen=True)
class UniformAllocator:
    """The largest bit-width that fits in all units; bytes that remain stay unspent.

    Args:
        seed: unused; the method draws nothing.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "uniform"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the uniform selection.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        selection = smallest(problem)
        for bits in sorted({choice.bits for unit in problem.units for choice in unit.choices}):
            wider = at_bits(problem, bits)
            selection = wider if problem.fits(wider) else selection
        ledger = Ledger(problem)
        if ledger.affords(selection):
            ledger.loss(selection)
        return ledger.allocation(selection)


@dataclass(frozen=True)
class EqualAllocator:
    """The same fineness in all units, relative to their sensitivity: what costs no search, and what a search must beat.

    Args:
        seed: unused; the method draws nothing.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "equal"

    def allocate(self, problem: Problem) -> Allocation:
        """Return the equal selection.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """
        smallest(problem)
        ledger = Ledger(problem)
        if ledger.affords(problem.equal):
            ledger.loss(problem.equal)
        return ledger.allocation(problem.equal)


def at_bits(problem: Problem, bits: float) -> Selection:
    """For every unit its largest choice of at most so many bits, or its smallest choice."""
    return tuple(_index(unit, bits) for unit in problem.units)


def _index(unit: Unit, bits: float) -> int:
    return max((i for i, choice in enumerate(unit.choices) if choice.bits <= bits), default=0)
