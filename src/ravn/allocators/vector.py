"""The environment for stable-baselines3, all episodes in one array: the policy's own time must stay small."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from ravn.allocators.episodes import Episodes
from ravn.allocators.problem import Selection
from ravn.allocators.scenes import Window, improvements
from ravn.allocators.selections import Floats, Ints
from ravn.allocators.views import LIMIT, Observations

Score = Callable[[Sequence[Selection]], Floats]


class BitWidthVecEnv(VecEnv):
    """As many `BitWidthEnv` as there are episodes, in lock step.

    Args:
        episodes: the plans that are built side by side.
        score: losses of complete plans.
        shaping: weight of the predicted rewards.
    """

    def __init__(self, episodes: Episodes, count: int, *, score: Score, shaping: float) -> None:
        self._episodes, self._score, self._shaping = episodes, score, shaping
        self.render_mode = None
        box = spaces.Box(-LIMIT, LIMIT, (episodes.width,), np.float32)
        super().__init__(count, box, spaces.Discrete(episodes.actions))

    def recentre(self, windows: Window | Sequence[Window]) -> None:
        """Put the windows around other plans and begin anew."""
        self._episodes.recentre(windows)

    def reset(self) -> Observations:
        """Begin all plans; observations of shape (count, width)."""
        self._episodes.begin()
        return self._episodes.observations()

    def step_async(self, actions: Ints) -> None:
        """Take the actions, shape (count,)."""
        self._taken = actions

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Decide one unit of every plan; complete plans are scored and begun anew."""
        rewards = self._shaping * self._episodes.decide(self._taken)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = self._episodes.done
        if done:
            last, plans = self._episodes.observations(), self._episodes.plans()
            rewards = rewards + improvements(self._episodes.before, self._score(plans))
            for info, seen in zip(infos, last, strict=True):
                info["terminal_observation"] = seen
            self._episodes.begin()
        ends = np.full(self.num_envs, done)
        return self._episodes.observations(), rewards.astype(np.float32), ends, infos

    def env_method(
        self, method_name: str, *args: Any, indices: Iterable[int] | int | None = None, **kwargs: Any
    ) -> list[Any]:
        """Only `action_masks` is there: allowed actions, (2R + 1,) for each plan."""
        del method_name, args, indices, kwargs
        return list(self._episodes.masks())

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environments offer a thing; MaskablePPO asks for `action_masks`."""
        return attr_name == "action_masks"

    def get_attr(self, attr_name: str, indices: Iterable[int] | int | None = None) -> list[Any]:
        """An attribute that all environments share, once per environment."""
        del indices
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Iterable[int] | int | None = None) -> None:
        """Set an attribute of all environments."""
        del indices
        setattr(self, attr_name, value)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Iterable[int] | int | None = None) -> list[bool]:
        """No environment is wrapped."""
        del wrapper_class, indices
        return [False] * self.num_envs

    def close(self) -> None:
        """Nothing is open."""
