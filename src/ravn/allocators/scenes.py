"""Windows of choices around incumbent plans, laid out as arrays: what episodes are played in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravn.allocators.problem import Problem, Selection
from ravn.allocators.selections import Floats, Ints, Table
from ravn.errors import InputError

Masks = NDArray[np.bool_]

_TINY = 1e-12


@dataclass(frozen=True)
class Window:
    """The choices within `radius` steps of an incumbent plan.

    Args:
        incumbent: a plan within the capacity.
        loss: its loss.
        radius: R; action a of 0..2R means the incumbent's choice plus a - R.
        capacity_bytes: of a budget other than the problem's; None for the problem's.
        landmarks: plans whose distance from the incumbent a policy may be shown.
    """

    incumbent: Selection
    loss: float
    radius: int
    capacity_bytes: int | None = None
    landmarks: tuple[Selection, ...] = ()


class Scene:
    """Some windows as arrays.

    Args:
        problem: units and capacity.
        table: additive losses and sizes.
        windows: of one radius.

    Attributes:
        capacities: bytes that may be spent, shape (windows,).
        losses: of the incumbents, shape (windows,).
        choices: choice of every action, shape (windows, units, 2R + 1).
        inside: whether that choice exists; same shape.
        sizes: its bytes; same shape.
        totals: additive losses of the incumbents, shape (windows,).
        shares: shares of the units in them, shape (windows, units).
        gains: fall of the additive loss by each action, relative to the incumbent's; shape of `choices`.
        rest: least bytes of this unit and all that follow, shape (windows, units + 1).
        wanted: the same for the incumbents.

    Raises:
        InputError: an incumbent exceeds its capacity.
    """

    def __init__(self, problem: Problem, table: Table, windows: Sequence[Window]) -> None:
        self.windows, self.radius = tuple(windows), windows[0].radius
        self.capacities = np.array([_capacity(problem, window) for window in windows])
        for window, capacity in zip(windows, self.capacities.tolist(), strict=True):
            if (size := table.size_bytes(window.incumbent)) > capacity:
                raise InputError(f"the incumbent takes {size} bytes; give a plan of at most {capacity}")
        self.losses = np.array([window.loss for window in windows])
        last = np.array([len(unit.choices) - 1 for unit in problem.units])[:, None]
        self.incumbents = np.array([window.incumbent for window in windows])
        wanted = self.incumbents[:, :, None] + np.arange(-self.radius, self.radius + 1)
        self.choices, self.inside = np.clip(wanted, 0, last), (wanted >= 0) & (wanted <= last)
        rows = np.arange(len(problem.units))[:, None]
        self.sizes = table.sizes[rows, self.choices]
        values = table.values[rows, self.choices]
        self.totals = np.maximum(values[:, :, self.radius].sum(1), _TINY)
        self.shares = values[:, :, self.radius] / self.totals[:, None]
        falls = values[:, :, self.radius, None] - values
        self.gains = np.clip(falls / self.totals[:, None, None], -1, 1)
        self.rest = _from_here(np.where(self.inside, self.sizes, self.sizes.max()).min(2))
        self.wanted = _from_here(self.sizes[:, :, self.radius])


def _capacity(problem: Problem, window: Window) -> int:
    return problem.capacity_bytes if window.capacity_bytes is None else window.capacity_bytes


def _from_here(sizes: Ints) -> Ints:
    """Sum over this unit and all that follow, with a zero at the end, shape (windows, units + 1)."""
    return np.pad(np.cumsum(sizes[:, ::-1], 1)[:, ::-1], ((0, 0), (0, 1)))


def improvements(before: float | Floats, after: Floats) -> Floats:
    """Relative falls of the loss, clipped to [-1, 1]; -1 where a loss isn't finite."""
    after = np.where(np.isfinite(after), after, np.inf)
    return np.clip((before - after) / np.maximum(np.abs(before), _TINY), -1, 1)
