"""Plans decided unit after unit, many at once: the Markov decision process behind the environments."""

from collections.abc import Sequence

import numpy as np

from ravn.allocators.problem import Problem, Selection
from ravn.allocators.scenes import Masks, Scene, Window
from ravn.allocators.selections import Floats, Ints, Table, all_filled
from ravn.allocators.views import LIMIT, Moment, Named, Observations, View


class Episodes:
    """`count` plans, built side by side from the first unit to the last.

    An action is allowed if, with it, the cheapest choices that the window leaves to the remaining units still fit; so
    every plan ends within the capacity. An action that isn't allowed is read as the next allowed one below it, or the
    lowest allowed one. Bytes left at the end go to the best predicted falls of the loss per byte.

    Args:
        problem: units and capacity.
        table: additive losses and sizes.
        windows: incumbents and radius; with several windows, episodes take them in turn.
        count: number of plans.
        view: what the policy sees; None tells units by their number.

    Raises:
        InputError: an incumbent exceeds the capacity.
    """

    def __init__(
        self,
        problem: Problem,
        table: Table,
        windows: Window | Sequence[Window],
        count: int,
        view: View | None = None,
    ) -> None:
        self._problem, self._table, self._count = problem, table, count
        self._view = view or Named()
        self.recentre(windows)
        self.actions = 2 * self.scene.radius + 1
        """Number of actions, 2R + 1."""
        self.width = self._view.width(problem, self.actions)
        """Length of an observation."""

    @property
    def done(self) -> bool:
        """Whether all units are decided."""
        return self._unit == len(self._problem.units)

    @property
    def before(self) -> Floats:
        """Loss of every episode's incumbent, shape (count,)."""
        return self.scene.losses[self.window]

    def recentre(self, windows: Window | Sequence[Window]) -> None:
        """Put the windows around other plans and begin anew.

        Raises:
            InputError: a plan exceeds the capacity.
        """
        several = [windows] if isinstance(windows, Window) else windows
        self.scene = Scene(self._problem, self._table, several)
        self.window = np.arange(self._count) % len(several)
        self._static = self._view.described(self._problem, self.scene)
        self.begin()

    def begin(self) -> None:
        """Start new plans."""
        self._unit = 0
        self._spent = np.zeros(self._count, dtype=np.int64)
        self._last = np.zeros(self._count)
        self._chosen = np.zeros((self._count, len(self._problem.units)), dtype=np.int64)
        self._look()

    def decide(self, actions: Ints) -> Floats:
        """Decide the next unit of every plan.

        Args:
            actions: values in 0..2R, shape (count,).

        Returns:
            Relative improvement that the additive losses predict, shape (count,).
        """
        taken = self.window, self._unit, self._allowed(actions)
        self._chosen[:, self._unit] = self.scene.choices[taken]
        self._spent += self.scene.sizes[taken]
        self._last = (taken[2] - self.scene.radius) / max(1, self.scene.radius)
        self._unit += 1
        self._look()
        gains: Floats = self.scene.gains[taken]
        return gains

    def masks(self) -> Masks:
        """Allowed actions, shape (count, 2R + 1); all of them when the plans are complete."""
        return self._masks

    def observations(self) -> Observations:
        """What the policy sees, shape (count, width)."""
        moment = Moment(self._unit, self.window, self._spent, self._last, self._masks)
        return np.clip(self._view.seen(self._static, self.scene, moment), -LIMIT, LIMIT)

    def plans(self) -> list[Selection]:
        """The complete plans, leftover bytes spent."""
        filled = all_filled(self._table, self._chosen, self.scene.capacities[self.window])
        return [tuple(row) for row in filled.tolist()]

    def _look(self) -> None:
        if self.done:
            self._masks = np.ones((self._count, 2 * self.scene.radius + 1), dtype=np.bool_)
            return
        ends = self._spent[:, None] + self.scene.sizes[self.window, self._unit]
        ends = ends + self.scene.rest[self.window, self._unit + 1, None]
        self._masks = self.scene.inside[self.window, self._unit] & (ends <= self.scene.capacities[self.window, None])

    def _allowed(self, actions: Ints) -> Ints:
        columns = np.arange(self._masks.shape[1])
        below = np.where(self._masks & (columns <= actions[:, None]), columns, -1).max(1)
        return np.where(below >= 0, below, self._masks.argmax(1))
