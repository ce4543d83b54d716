"""Bit allocation as a Gymnasium environment: one episode is one plan, one step is one unit."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ravn.allocators.episodes import Episodes
from ravn.allocators.problem import Problem, Selection
from ravn.allocators.scenes import Masks, Window, improvements
from ravn.allocators.selections import Table
from ravn.allocators.views import LIMIT, Observations
from ravn.errors import MissingPackageError

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise MissingPackageError("gymnasium", "rl") from error


class BitWidthEnv(gymnasium.Env[Observations, np.int64]):
    """Decide unit after unit how many steps to go up or down from an incumbent plan.

    Action masks keep every plan within the capacity (see `Episodes`). The last reward is the relative improvement of
    the loss over the incumbent's, clipped to [-1, 1]; before that each step earns `shaping` times the relative
    improvement that the additive losses predict.

    Args:
        problem: units and capacity.
        table: additive losses and sizes.
        window: incumbent and radius.
        score: loss of a complete plan.
        shaping: weight of the predicted rewards.

    Raises:
        InputError: the incumbent exceeds the capacity.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium declares it so)

    def __init__(
        self,
        problem: Problem,
        table: Table,
        window: Window,
        *,
        score: Callable[[Selection], float],
        shaping: float = 0.0,
    ) -> None:
        self._episodes = Episodes(problem, table, window, 1)
        self._score, self._shaping = score, shaping
        self.action_space = spaces.Discrete(self._episodes.actions)
        self.observation_space = spaces.Box(-LIMIT, LIMIT, (self._episodes.width,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a plan.

        Returns:
            The first observation and an empty dictionary.
        """
        super().reset(seed=seed, options=options)
        self._episodes.begin()
        return self._episodes.observations()[0], {}

    def step(self, action: np.int64) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Decide one unit.

        Returns:
            Observation, reward, whether the plan is complete, False, and {"selection": plan} at the end.
        """
        reward = self._shaping * float(self._episodes.decide(np.array([action]))[0])
        seen = self._episodes.observations()[0]
        if not self._episodes.done:
            return seen, reward, False, False, {}
        plan = self._episodes.plans()[0]
        gain = improvements(self._episodes.before, np.array([self._score(plan)]))
        return seen, reward + float(gain[0]), True, False, {"selection": plan}

    def action_masks(self) -> Masks:
        """Which actions keep the plan within the capacity, shape (2R + 1,)."""
        return self._episodes.masks()[0]
