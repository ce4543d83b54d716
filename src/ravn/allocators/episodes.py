"""Plans decided unit after unit, many at once: the Markov decision process behind the environments."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravn.allocators.problem import Problem, Selection
from ravn.allocators.selections import Floats, Ints, Table, all_filled
from ravn.errors import InputError

Observations = NDArray[np.float32]
Masks = NDArray[np.bool_]

LIMIT = 10.0
_RUNNING = 4
_TINY = 1e-12


@dataclass(frozen=True)
class Window:
    """The choices within `radius` steps of an incumbent plan.

    Args:
        incumbent: a plan within the capacity.
        loss: its loss.
        radius: R; action a of 0..2R means the incumbent's choice plus a - R.
    """

    incumbent: Selection
    loss: float
    radius: int


class Episodes:
    """`count` plans, built side by side from the first unit to the last.

    An action is allowed if, with it, the cheapest choices that the window leaves to the remaining units still fit; so
    every plan ends within the capacity. An action that isn't allowed is read as the next allowed one below it, or the
    lowest allowed one. Bytes left at the end go to the best predicted falls of the loss per byte.

    Args:
        problem: units and capacity.
        table: additive losses and sizes.
        window: incumbent and radius.
        count: number of plans.

    Raises:
        InputError: the incumbent exceeds the capacity.
    """

    def __init__(self, problem: Problem, table: Table, window: Window, count: int) -> None:
        self._problem, self._table, self._count = problem, table, count
        self._static = _static_features(problem)
        self._actions = 2 * window.radius + 1
        self.recentre(window)

    @property
    def actions(self) -> int:
        """Number of actions, 2R + 1."""
        return self._actions

    @property
    def width(self) -> int:
        """Length of an observation."""
        return self._static.shape[1] + self._actions + _RUNNING

    @property
    def done(self) -> bool:
        """Whether all units are decided."""
        return self._unit == len(self._problem.units)

    def recentre(self, window: Window) -> None:
        """Put the window around another plan and begin anew.

        Raises:
            InputError: the plan exceeds the capacity.
        """
        size, capacity = self._table.size_bytes(window.incumbent), self._problem.capacity_bytes
        if size > capacity:
            raise InputError(f"the incumbent takes {size} bytes; give a plan of at most {capacity}")
        self.window = window
        self._options, self._inside = _options(self._problem, window)
        rows = np.arange(len(self._options))[:, None]
        self._sizes = self._table.sizes[rows, self._options]
        values = self._table.values[rows, self._options]
        total = max(float(values[:, window.radius].sum()), _TINY)
        self._shares = values[:, window.radius] / total
        self._gains = np.clip((values[:, window.radius, None] - values) / total, -1, 1)
        self._rest = _from_here(np.where(self._inside, self._sizes, self._sizes.max()).min(1))
        self._wanted = _from_here(self._sizes[:, window.radius])
        self.begin()

    def begin(self) -> None:
        """Start new plans."""
        self._unit = 0
        self._spent = np.zeros(self._count, dtype=np.int64)
        self._last = np.zeros(self._count)
        self._chosen = np.zeros((self._count, len(self._options)), dtype=np.int64)
        self._look()

    def decide(self, actions: Ints) -> Floats:
        """Decide the next unit of every plan.

        Args:
            actions: values in 0..2R, shape (count,).

        Returns:
            Relative improvement that the additive losses predict, shape (count,).
        """
        columns, unit = self._allowed(actions), self._unit
        self._chosen[:, unit] = self._options[unit, columns]
        self._spent += self._sizes[unit, columns]
        self._last = (columns - self.window.radius) / max(1, self.window.radius)
        self._unit += 1
        self._look()
        gains: Floats = self._gains[unit, columns]
        return gains

    def masks(self) -> Masks:
        """Allowed actions, shape (count, 2R + 1); all of them when the plans are complete."""
        return self._masks

    def observations(self) -> Observations:
        """What the policy sees, shape (count, width): unit, allowed actions, bytes, sensitivity, last action."""
        unit = min(self._unit, len(self._options) - 1)
        capacity = max(1, self._problem.capacity_bytes)
        seen = np.empty((self._count, self.width), dtype=np.float32)
        seen[:, : -self._actions - _RUNNING] = self._static[unit]
        seen[:, -self._actions - _RUNNING : -_RUNNING] = self._masks
        seen[:, -4] = 10 * (self._problem.capacity_bytes - self._spent - self._wanted[self._unit]) / capacity
        seen[:, -3] = self._sizes[unit, self.window.radius] / capacity
        seen[:, -2] = self._shares[unit]
        seen[:, -1] = self._last
        return np.clip(seen, -LIMIT, LIMIT)

    def plans(self) -> list[Selection]:
        """The complete plans, leftover bytes spent."""
        filled = all_filled(self._table, self._chosen, self._problem.capacity_bytes)
        return [tuple(row) for row in filled.tolist()]

    def _look(self) -> None:
        if self.done:
            self._masks = np.ones((self._count, self._actions), dtype=np.bool_)
            return
        ends = self._spent[:, None] + self._sizes[self._unit] + self._rest[self._unit + 1]
        self._masks = self._inside[self._unit] & (ends <= self._problem.capacity_bytes)

    def _allowed(self, actions: Ints) -> Ints:
        columns = np.arange(self._actions)
        below = np.where(self._masks & (columns <= actions[:, None]), columns, -1).max(1)
        return np.where(below >= 0, below, self._masks.argmax(1))


def improvements(before: float, after: Floats) -> Floats:
    """Relative falls of the loss, clipped to [-1, 1]; -1 where a loss isn't finite."""
    after = np.where(np.isfinite(after), after, np.inf)
    return np.clip((before - after) / max(abs(before), _TINY), -1, 1)


def _from_here(sizes: Ints) -> Ints:
    """Sum over this unit and all that follow, with a zero at the end, shape (units + 1,)."""
    return np.append(np.cumsum(sizes[::-1])[::-1], 0)


def _static_features(problem: Problem) -> Floats:
    """One-hot unit, its features and its share of the weights, shape (units, width)."""
    weights = np.array([unit.weights for unit in problem.units], dtype=np.float64)
    features = np.array([unit.features for unit in problem.units], dtype=np.float64)
    share = weights[:, None] / max(1.0, weights.sum())
    return np.concatenate([np.eye(len(weights)), features.reshape(len(weights), -1), share], 1)


def _options(problem: Problem, window: Window) -> tuple[Ints, Masks]:
    """Choice of every (unit, action), shape (units, 2R + 1), and whether it exists."""
    last = np.array([len(unit.choices) - 1 for unit in problem.units])[:, None]
    choices = np.array(window.incumbent)[:, None] + np.arange(-window.radius, window.radius + 1)
    return np.clip(choices, 0, last), (choices >= 0) & (choices <= last)
