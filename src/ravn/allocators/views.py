"""What a policy sees before it decides a unit: by the unit's name, or by traits that any network has."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ravn.allocators.problem import Problem
from ravn.allocators.scenes import Masks, Scene
from ravn.allocators.selections import Floats, Ints

Observations = NDArray[np.float32]

LIMIT = 10.0
_TINY = 1e-12


@dataclass(frozen=True)
class Moment:
    """How far some episodes are.

    Args:
        unit: the unit that is decided next.
        window: window of every episode, shape (count,).
        spent: bytes spent so far, shape (count,).
        last: the action before, from -1 to 1, shape (count,).
        masks: allowed actions, shape (count, 2R + 1).
    """

    unit: int
    window: Ints
    spent: Ints
    last: Floats
    masks: Masks

    def left(self, scene: Scene) -> Floats:
        """Bytes that the incumbent's choices for the rest would leave, relative to the capacity, tenfold."""
        capacities = scene.capacities[self.window]
        rest = capacities - self.spent - scene.wanted[self.window, self.unit]
        return 10 * rest / np.maximum(capacities, 1)


class View(Protocol):
    """Turns the state of episodes into numbers of order one."""

    def width(self, problem: Problem, actions: int) -> int:
        """Length of an observation."""

    def described(self, problem: Problem, scene: Scene) -> Floats:
        """What doesn't change within an episode, shape (windows, units, numbers)."""

    def seen(self, static: Floats, scene: Scene, moment: Moment) -> Observations:
        """Observations of shape (count, width), not yet clipped."""


class Named:
    """A policy for one network and one budget: which unit it is, its features, what is left, how sensitive it is."""

    def width(self, problem: Problem, actions: int) -> int:
        """Length of an observation."""
        return len(problem.units) + len(problem.units[0].features) + 1 + actions + 4

    def described(self, problem: Problem, scene: Scene) -> Floats:
        """One-hot unit, its features and its share of the weights."""
        weights = np.array([unit.weights for unit in problem.units], dtype=np.float64)
        share = weights[:, None] / max(1.0, weights.sum())
        static = np.concatenate([np.eye(len(weights)), _features(problem), share], 1)
        return np.broadcast_to(static, (len(scene.windows), *static.shape))

    def seen(self, static: Floats, scene: Scene, moment: Moment) -> Observations:
        """Unit, allowed actions, bytes left, the incumbent's bytes, sensitivity, last action."""
        unit = min(moment.unit, static.shape[1] - 1)
        capacities = np.maximum(scene.capacities[moment.window], 1)
        running = (
            moment.left(scene),
            scene.sizes[moment.window, unit, scene.radius] / capacities,
            scene.shares[moment.window, unit],
            moment.last,
        )
        seen = np.concatenate([static[moment.window, unit], moment.masks, np.stack(running, 1)], 1)
        return seen.astype(np.float32)


class Described:
    """A policy for any network and any budget: nothing it sees depends on which network it is, or how deep.

    Args:
        landmarks: plans in every window whose distance from the incumbent is seen.
    """

    def __init__(self, landmarks: int) -> None:
        self._landmarks = landmarks

    def width(self, problem: Problem, actions: int) -> int:
        """Length of an observation."""
        return len(problem.units[0].features) + 6 + self._landmarks + 2 * actions + 2

    def described(self, problem: Problem, scene: Scene) -> Floats:
        """Traits, relative size, budget, damage, sensitivity, fineness, landmarks and the gains of all actions."""
        weights = np.array([unit.weights for unit in problem.units], dtype=np.float64)
        count, all_weights = len(weights), max(1.0, weights.sum())
        octaves = _look([[np.log2(max(c.distortion, _TINY)) / 2 for c in u.choices] for u in problem.units], scene)
        budget = np.maximum(8 * scene.capacities / all_weights, 1e-3)[:, None]
        bits = np.maximum(8 * scene.sizes[:, :, scene.radius] / weights, 1e-3)
        ones = np.ones((len(scene.windows), count))
        rows = (
            ones * np.log(weights * count / all_weights) / 3,
            ones * np.log2(budget) / 2,
            ones * np.log10(scene.totals)[:, None] / 2,
            np.log(np.maximum(scene.shares * count, 1e-6)) / 3,
            (octaves - (octaves * weights).sum(1, keepdims=True) / all_weights) / 2,
            np.log2(bits / budget) / 2,
        )
        marks = np.array([w.landmarks for w in scene.windows]).reshape(len(scene.windows), self._landmarks, count)
        ways = (marks - scene.incumbents[:, None]).transpose(0, 2, 1) / 4
        traits = np.broadcast_to(_features(problem), (len(scene.windows), count, len(problem.units[0].features)))
        gains = np.clip(scene.gains * count, -3, 3)
        return np.concatenate([traits, np.stack(rows, 2), ways, gains], 2)

    def seen(self, static: Floats, scene: Scene, moment: Moment) -> Observations:
        """The unit's description, allowed actions, bytes left, last action."""
        unit = min(moment.unit, static.shape[1] - 1)
        running = np.stack([moment.left(scene), moment.last], 1)
        return np.concatenate([static[moment.window, unit], moment.masks, running], 1).astype(np.float32)


def _features(problem: Problem) -> Floats:
    features = np.array([unit.features for unit in problem.units], dtype=np.float64)
    return features.reshape(len(problem.units), -1)


def _look(rows: list[list[float]], scene: Scene) -> Floats:
    """Values of the incumbents' choices, shape (windows, units)."""
    return np.stack([[row[i] for row, i in zip(rows, w.incumbent, strict=True)] for w in scene.windows])
