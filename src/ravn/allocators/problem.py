"""The question that an allocator answers: one choice for every unit, under a byte capacity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Selection = tuple[int, ...]
"""Index of the choice of every unit, in the order of `Problem.units`; `FLOAT` leaves a unit unquantized."""

FLOAT = -1
"""The index that leaves a unit's weights in floating point: for measuring sensitivities, never in a plan."""


@dataclass(frozen=True)
class Choice:
    """One way to store a unit.

    Args:
        bits: bits per weight (nominal for a cluster, true rate for a layer).
        size_bytes: bytes that the unit adds to the file.
        distortion: normalised error of the unit's output, a measure of damage that costs no
            evaluation.
    """

    bits: float
    size_bytes: int
    distortion: float


@dataclass(frozen=True)
class Unit:
    """What one decision is about: a layer, or one cluster of a layer.

    Args:
        name: name of the weight, followed by "#" and the cluster's number where the unit is a
            cluster.
        layer: name of the weight.
        weights: number of weights.
        features: static description for a learned policy: a few numbers of order one.
        choices: ways to store it, by strictly increasing `size_bytes`.
    """

    name: str
    layer: str
    weights: int
    features: tuple[float, ...]
    choices: tuple[Choice, ...]


def unheard(selections: Sequence[Selection]) -> None:
    """Where one plan is scored after another, nobody listens to what will be asked next."""
    del selections


@dataclass(frozen=True)
class Problem:
    """Choose one option for every unit so that the loss is least and the bytes fit.

    Args:
        units: what is to be decided, in the order of the network.
        capacity_bytes: the largest allowed sum of `size_bytes`.
        loss: L_RAVN (Eq. 7) of a selection on the calibration images: one forward pass, one
            evaluation.
        holdout_loss: the same on images that the search must not learn from; for choosing between
            finalists.
        equal: the best feasible selection of the same fineness everywhere: of steps relative to the sensitivity of
            layers, or of bits of clusters; a starting point that costs nothing.
        evaluations: how many calls of `loss` the search may make.
        announce: told for which selections `loss` will probably be called next, in this order; whoever scores several
            at once begins, and forgets the ones announced before. It never changes what `loss` returns.
        announce_holdout: the same for `holdout_loss`.
    """

    units: tuple[Unit, ...]
    capacity_bytes: int
    loss: Callable[[Selection], float]
    holdout_loss: Callable[[Selection], float]
    equal: Selection
    evaluations: int
    announce: Callable[[Sequence[Selection]], None] = unheard
    announce_holdout: Callable[[Sequence[Selection]], None] = unheard

    def size_bytes(self, selection: Selection) -> int:
        """Bytes that a selection takes."""
        return sum(u.choices[i].size_bytes for u, i in zip(self.units, selection, strict=True))

    def fits(self, selection: Selection) -> bool:
        """Whether a selection respects the capacity."""
        return self.size_bytes(selection) <= self.capacity_bytes


@dataclass(frozen=True)
class Allocation:
    """What an allocator found.

    Args:
        selection: the plan.
        evaluations: calls of `Problem.loss` that were paid for (repeated selections are
            remembered, not paid twice).
        curve: (evaluation number, best feasible loss so far) wherever it improved.
        outdone: whether a cheap plan that the search began from, and none that it found, is the best on the holdout
            images.
        policy: the bytes of a file that holds the policy that was trained on the way, where it fits other networks.
    """

    selection: Selection
    evaluations: int
    curve: tuple[tuple[int, float], ...] = ()
    outdone: bool = False
    policy: bytes = b""


class Allocator(Protocol):
    """Decides bit-widths; deterministic for a given configuration and problem."""

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""

    def allocate(self, problem: Problem) -> Allocation:
        """Return a feasible selection.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
        """


@runtime_checkable
class FrontAllocator(Protocol):
    """An allocator that searches for several budgets at once."""

    def allocate_all(self, problems: Sequence[Problem]) -> list[Allocation]:
        """Return a feasible selection for each of several problems that differ in capacity and equal plan alone.

        The evaluations of all problems are one purse, and those that an allocation counts are all that were paid.

        Raises:
            BudgetError: even the smallest choices exceed a capacity.
        """


def allocations(allocator: Allocator, problems: Sequence[Problem]) -> list[Allocation]:
    """Solve several problems that differ in capacity and equal plan alone; at once, where the allocator can.

    Raises:
        BudgetError: even the smallest choices exceed a capacity.
    """
    if len(problems) > 1 and isinstance(allocator, FrontAllocator):
        return allocator.allocate_all(problems)
    return [allocator.allocate(problem) for problem in problems]
