"""A made-up network in microseconds: errors that multiply, interact in pairs, and depend on luck."""

import numpy as np

from ravn.allocators.problem import FLOAT, Choice, Problem, Selection, Unit

HEAD_BYTES = 16


class Cascade:
    """Losses of units whose errors add up in the log and interact through random pair terms.

    Args:
        units: number of units.
        choices: choices per unit, a quarter of a bit apart.
        seed: seed of everything.
        judge: whether the luck of other images is added: the holdout's.
    """

    def __init__(self, units: int, choices: int, seed: int, *, judge: bool = False) -> None:
        generator = np.random.default_rng(seed)
        self.weights = np.exp(generator.uniform(6, 10.5, units)).astype(int)
        self.bits = 0.5 + 0.25 * np.arange(choices)
        loudness = np.exp(generator.normal(0, 1.0, units)) * 0.25
        errors = loudness[:, None] * 4 ** -(self.bits - 1)
        luck = generator.normal(0, 0.35, (units, choices))
        pairs = generator.normal(0, 0.5, (units, units)) / np.sqrt(units)
        if judge:
            other = np.random.default_rng(seed + 10**6)
            luck = luck + other.normal(0, 0.12, luck.shape)
            pairs = pairs + other.normal(0, 0.15, pairs.shape) / np.sqrt(units)
        self.errors = errors * np.exp(luck)
        self.pairs = np.triu(pairs, 1)

    def loss(self, selection: Selection) -> float:
        """Loss of a selection; zero where all is floating point, and positive elsewhere."""
        chosen = np.array(selection)
        own = np.where(chosen == FLOAT, 0, self.errors[np.arange(len(chosen)), chosen])
        amplitude = np.sqrt(own / (1 + own))
        together = float(np.log1p(own).sum() + amplitude @ self.pairs @ amplitude)
        return float(np.logaddexp(0, 4 * together) / 4 - np.log(2) / 4)


def cascade(units: int = 12, choices: int = 13, *, seed: int = 0, bits: float = 1.5, evaluations: int = 100) -> Problem:
    """A problem on a made-up network, with as many bits per weight as asked."""
    network, judge = Cascade(units, choices, seed), Cascade(units, choices, seed, judge=True)
    rows = tuple(_unit(network, unit) for unit in range(units))
    capacity = int(bits * network.weights.sum() / 8) + HEAD_BYTES * units
    equal = [(i,) * units for i in range(choices) if _bytes(rows, (i,) * units) <= capacity]
    return Problem(rows, capacity, network.loss, judge.loss, (equal or [(0,) * units])[-1], evaluations)


def _unit(network: Cascade, unit: int) -> Unit:
    weights = int(network.weights[unit])
    options = tuple(Choice(float(b), int(weights * b / 8) + HEAD_BYTES, float(4**-b)) for b in network.bits)
    return Unit(f"layer{unit}", f"layer{unit}", weights, (np.log(weights) / 10, unit / 10), options)


def _bytes(units: tuple[Unit, ...], selection: Selection) -> int:
    return sum(u.choices[i].size_bytes for u, i in zip(units, selection, strict=True))
