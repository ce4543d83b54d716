"""Selections as rows of a table: bytes, predicted losses, and moves that respect the capacity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravn.allocators.problem import Problem, Selection
from ravn.errors import BudgetError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class Table:
    """Additive loss and size of every choice of every unit, padded to a rectangle.

    Args:
        values: loss that a choice adds, shape (units, choices); infinite where a unit has fewer
            choices.
        sizes: bytes of a choice, shape (units, choices); unaffordable where a unit has fewer
            choices.
    """

    values: Floats
    sizes: Ints

    @classmethod
    def of(cls, values: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]]) -> "Table":
        """Pad ragged rows, one per unit, to a rectangle."""
        shape = (len(sizes), max((len(row) for row in sizes), default=0))
        table = cls(np.full(shape, np.inf), np.full(shape, _NEVER))
        for unit, (value, size) in enumerate(zip(values, sizes, strict=True)):
            table.values[unit, : len(value)] = value
            table.sizes[unit, : len(size)] = size
        return table

    def size_bytes(self, selection: Selection) -> int:
        """Bytes that a selection takes."""
        return int(self.sizes[np.arange(len(selection)), selection].sum())

    def value(self, selection: Selection) -> float:
        """Additive loss of a selection."""
        return float(self.values[np.arange(len(selection)), selection].sum())


def table_of(problem: Problem, values: Sequence[Sequence[float]]) -> Table:
    """The table of a problem under additive losses, one row per unit."""
    return Table.of(values, sizes(problem))


def sizes(problem: Problem) -> list[list[int]]:
    """Bytes of every choice of every unit."""
    return [[c.size_bytes for c in u.choices] for u in problem.units]


def distortions(problem: Problem) -> list[list[float]]:
    """Distortion of every choice of every unit: additive losses that cost no evaluation."""
    return [[c.distortion for c in u.choices] for u in problem.units]


def smallest(problem: Problem) -> Selection:
    """The selection of the smallest choices.

    Raises:
        BudgetError: it exceeds the capacity.
    """
    selection = (0,) * len(problem.units)
    size = problem.size_bytes(selection)
    if size > problem.capacity_bytes:
        raise BudgetError(
            f"a capacity of {problem.capacity_bytes} bytes can't be met; "
            f"the smallest choices of the {len(selection)} units take {size} bytes",
            size,
        )
    return selection


def filled(table: Table, selection: Selection, capacity: int) -> Selection:
    """Spend the bytes that are left, each time on the largest fall of the additive loss per byte.

    Args:
        table: additive losses and sizes.
        selection: a selection within the capacity.
        capacity: bytes that may be spent in all.

    Returns:
        A selection within the capacity, no unit below its choice in `selection`.
    """
    return tuple(all_filled(table, np.array([selection], dtype=np.int64), capacity)[0].tolist())


def all_filled(table: Table, chosen: Ints, capacity: int | Ints) -> Ints:
    """Do what `filled` does to many selections, shape (plans, units), at once; each may have a capacity of its own."""
    chosen, rows = chosen.copy(), np.arange(chosen.shape[1])
    left = capacity - table.sizes[rows, chosen].sum(1)
    active = np.flatnonzero(left > 0)
    while len(active):
        now = chosen[active]
        extra = table.sizes - table.sizes[rows, now][:, :, None]
        fall = table.values[rows, now][:, :, None] - table.values
        good = (extra > 0) & (extra <= left[active, None, None]) & (fall > 0)
        rate = np.divide(fall, extra, out=np.full(fall.shape, -np.inf), where=good).reshape(len(active), -1)
        best = rate.argmax(1)
        grows = rate[np.arange(len(active)), best] > -np.inf
        active, (unit, choice) = active[grows], np.divmod(best[grows], table.sizes.shape[1])
        left[active] -= table.sizes[unit, choice] - table.sizes[unit, chosen[active, unit]]
        chosen[active, unit] = choice
    return chosen


def swapped(table: Table, selection: Selection, pairs: Ints, capacity: int) -> Ints:
    """One unit a step up, another down until it fits, the bytes that are left spent; many such swaps at once.

    Args:
        table: additive losses, for spending what a swap leaves, and sizes.
        selection: a plan within the capacity.
        pairs: the unit that goes up and the unit that goes down, shape (swaps, 2).
        capacity: bytes that may be spent.

    Returns:
        The plans within the capacity that differ from `selection`, in the order of their swaps, shape (plans, units).
    """
    now, (up, down) = np.array(selection), pairs.T
    raised = np.minimum(now[up] + 1, table.sizes.shape[1] - 1)
    sizes = table.sizes[np.arange(len(now)), now]
    over = sizes.sum() - capacity + table.sizes[up, raised] - sizes[up]
    lowered = np.minimum((table.sizes[down] <= (sizes[down] - over)[:, None]).sum(1) - 1, now[down])
    possible = (raised > now[up]) & np.isfinite(table.values[up, raised])
    possible &= (over <= 0) | ((lowered >= 0) & (up != down))
    plans = np.tile(now, (len(pairs), 1))[possible]
    rows = np.arange(len(plans))
    plans[rows, down[possible]] = np.where(over > 0, lowered, now[down])[possible]
    plans[rows, up[possible]] = raised[possible]
    plans = all_filled(table, plans, capacity)
    return plans[(plans != now).any(1)]
