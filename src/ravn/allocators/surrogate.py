"""A cheap model of the loss, fitted to all paid evaluations: screens plans before they cost one."""

from collections.abc import Mapping, Sequence

import numpy as np

from ravn.allocators.problem import Problem, Selection
from ravn.allocators.selections import Floats, Ints, Table

_NOISE = 0.01
_TINY = 1e-12


class Surrogate:
    """Gaussian process on the log of the loss, with the additive prediction as prior mean.

    With z the log2 error amplitudes of a plan's n units, a the units' predicted loss amplitudes, w the mean of a over
    the known plans, scaled to sum to 1, and h = sum_i w_i [p_i != q_i] the share of the units that differ,

        k(p, q) = (exp(-|z_p - z_q|^2 / 2n - 2 h) + (1 - h) + cos^2(a_p, a_q)) / 3.

    The terms stand for what all units do together, for the luck of single choices (how a step falls on the weights),
    which their neighbours don't share, and for errors that interact in pairs: a quadratic form of the amplitudes.

    Args:
        problem: units, whose distortions give z.
        table: additive losses: the prior.
        losses: plans and their true losses; those not positive and finite are left out.
        pairs_only: keep only the last term: the additive model, corrected by pairs.
    """

    def __init__(
        self, problem: Problem, table: Table, losses: Mapping[Selection, float], *, pairs_only: bool = False
    ) -> None:
        self._pairs_only = pairs_only
        octaves = [[np.log2(max(c.distortion, _TINY)) / 2 for c in u.choices] for u in problem.units]
        self._octaves = Table.of(octaves, table.sizes.tolist()).values
        self._values = np.clip(table.values, _TINY, 1e12)
        known = {plan: loss for plan, loss in losses.items() if 0 < loss < np.inf}
        self._plans = np.array(list(known), dtype=np.int64).reshape(-1, len(problem.units))
        amplitudes = np.sqrt(self._look(self._values, self._plans).mean(0))
        self._share = amplitudes / amplitudes.sum()
        rest = np.log(list(known.values())) - self._prior(self._plans)
        self._shift = float(rest.mean())
        kernel = self._kernel(self._plans) + _NOISE * np.eye(len(self._plans))
        self._inverse = np.linalg.inv(kernel)
        self._weights = self._inverse @ (rest - self._shift)
        self._variance = float((rest - self._shift) @ self._weights) / len(self._plans)

    def predict(self, plans: Sequence[Selection]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of log(loss), each of shape (plans,)."""
        rows = np.array(plans, dtype=np.int64)
        cross = self._kernel(rows)
        mean = self._prior(rows) + self._shift + cross @ self._weights
        left = 1 - ((cross @ self._inverse) * cross).sum(1)
        return mean, np.sqrt(np.maximum(left, 0) * self._variance)

    def expected(self, plans: Sequence[Selection]) -> Floats:
        """Mean of log(loss) but for the luck of single choices: what other networks may have in common; (plans,)."""
        rows = np.array(plans, dtype=np.int64)
        smooth: Floats = self._prior(rows) + self._shift + self._kernel(rows, luck=False) @ self._weights
        return smooth

    def _look(self, table: Floats, plans: Ints) -> Floats:
        looked: Floats = table[np.arange(len(table)), plans]
        return looked

    def _prior(self, plans: Ints) -> Floats:
        prior: Floats = np.log(self._look(self._values, plans).sum(1))
        return prior

    def _kernel(self, plans: Ints, *, luck: bool = True) -> Floats:
        """k(plans, training plans), or its part without the term for luck."""
        units = plans.shape[1]
        left, right = (np.sqrt(self._look(self._values, p)) for p in (plans, self._plans))
        lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
        together: Floats = (left @ right.T / lengths) ** 2
        if self._pairs_only:
            return together
        left, right = self._look(self._octaves, plans), self._look(self._octaves, self._plans)
        squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
        differ = 1 - self._one_hot(plans) @ self._one_hot(self._plans).T
        kernel: Floats = (np.exp(-squares / (2 * units) - 2 * differ) + luck * (1 - differ) + together) / 3
        return kernel

    def _one_hot(self, plans: Ints) -> Floats:
        """Choices as vectors whose inner product is the share of the units that agree."""
        chosen = plans[:, :, None] == np.arange(self._values.shape[1])
        return (chosen * np.sqrt(self._share)[:, None]).reshape(len(plans), -1)
