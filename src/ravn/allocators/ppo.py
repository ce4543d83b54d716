"""Reinforcement learning: proximal policy optimisation of the residual off the best cheap plan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ravn.allocators.agents import agent
from ravn.allocators.episodes import Episodes
from ravn.allocators.front_ppo import FrontPPO
from ravn.allocators.ledger import Ledger
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.randomness import PrivateRandomness
from ravn.allocators.scenes import Window
from ravn.allocators.selections import Floats
from ravn.allocators.starts import Starts, cheap_starts, conclusion
from ravn.allocators.surrogate import Surrogate
from ravn.allocators.surrogate_search import modelled
from ravn.errors import MissingPackageError

_PATIENCE = 5
_FEWEST_BOUGHT = 4


@dataclass(frozen=True)
class PPOAllocator:
    """Maskable PPO around the better of the knapsack's and the equal plan (Algorithm 1, its search).

    A round: the policy plays episodes whose plans are scored by the true loss where it is known and by an optimistic
    surrogate elsewhere; the most promising new plans are paid for; the best plan becomes the incumbent. In the end the
    holdout loss decides between the best plans and the starting plans, so that the answer is never worse than the
    start there.

    Args:
        seed: seed of the policy.
        radius: largest residual, in steps of a unit's choices.
        rounds: how many times plans are bought, at most.
        episodes: plans built side by side.
        rollouts: updates of the policy per round, each on one batch of episodes.
        optimism: standard deviations of the surrogate that are taken off its prediction.
        shaping: weight of the additive model's rewards per step.
        entropy: weight of the policy's entropy in its objective.
        rate: learning rate.
        peak: how much the log-probability of a residual falls per step away from the incumbent, at first.
        epochs: passes over the episodes of an update.
        batch: decisions per gradient step.
        policy: the bytes of a policy's file that the search begins with; empty for a search without one. A search with
            one, and one for several budgets, is that of `FrontPPO`.
    """

    seed: int = 0
    radius: int = 2
    rounds: int = 40
    episodes: int = 128
    rollouts: int = 3
    optimism: float = 3.0
    shaping: float = 0.0
    entropy: float = 0.1
    rate: float = 3e-3
    peak: float = 1.0
    epochs: int = 4
    batch: int = 640
    policy: bytes = b""

    @property
    def name(self) -> str:
        """The name under which the command line knows it."""
        return "ppo"

    def allocate(self, problem: Problem) -> Allocation:
        """Return a plan that is never worse than the start on the holdout images.

        Raises:
            BudgetError: even the smallest choices exceed the capacity.
            InputError: the policy to begin with is for units that are described otherwise.
            MissingPackageError: sb3-contrib or gymnasium is not installed.
        """
        if self.policy:
            return self.allocate_all([problem])[0]
        ledger = Ledger(problem)
        starts = cheap_starts(ledger)
        # The surrogate is a model of log(loss): it needs one to begin with.
        if ledger.left > 0 and modelled(ledger):
            _Search(self, ledger, starts).run()
        return conclusion(ledger, starts)

    def allocate_all(self, problems: Sequence[Problem]) -> list[Allocation]:
        """Return a plan for each of several budgets, by one policy for all.

        Raises:
            BudgetError: even the smallest choices exceed a capacity.
            InputError: the policy to begin with is for units that are described otherwise.
            MissingPackageError: sb3-contrib or gymnasium is not installed.
        """
        return FrontPPO(self.seed, policy=self.policy).allocate_all(problems)


class _Search:
    """One run of the allocator: the policy and what it has seen."""

    def __init__(self, options: PPOAllocator, ledger: Ledger, starts: Starts) -> None:
        self._options, self._ledger, self._starts = options, ledger, starts
        self._random = PrivateRandomness(options.seed)
        self._batch = max(_FEWEST_BOUGHT, math.ceil(ledger.left / options.rounds))
        self._centre: Selection | None = None
        with self._random:
            self._model = self._policy()

    def run(self) -> None:
        """Spend all evaluations, or stop when the policy finds no new plans any more."""
        idle = 0
        while self._ledger.left > 0 and idle < _PATIENCE:
            self._surrogate = Surrogate(self._ledger.problem, self._starts.table, self._ledger.feasible())
            self._seen: dict[Selection, float] = {}
            with self._random:
                self._practise()
            bought = self._buy()
            idle = 0 if bought else idle + 1
            if bought < self._batch:
                self._centre = None

    def _practise(self) -> None:
        if self._centre != self._ledger.best:
            self._recentre()
        steps = self._options.rollouts * self._options.episodes * len(self._ledger.problem.units)
        self._model.learn(steps, reset_num_timesteps=False)

    def _recentre(self) -> None:
        import torch

        self._centre = self._ledger.best
        self._environment.recentre(self._window())
        self._model.set_env(self._environment, force_reset=True)
        head, radius = self._model.policy.action_net, self._options.radius
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(-self._options.peak * torch.arange(-radius, radius + 1).abs())

    def _window(self) -> Window:
        best = self._ledger.best or self._ledger.problem.equal
        return Window(best, self._ledger.known[best], self._options.radius)

    def _score(self, plans: Sequence[Selection]) -> Floats:
        known = self._ledger.known
        new = sorted({plan for plan in plans if plan not in known and plan not in self._seen})
        if new:
            mean, deviation = self._surrogate.predict(new)
            guess = np.exp(mean - self._options.optimism * deviation)
            self._seen.update(zip(new, guess.tolist(), strict=True))
        return np.array([known[p] if p in known else self._seen[p] for p in plans])

    def _buy(self) -> int:
        ranked = sorted(self._seen, key=lambda plan: (self._seen[plan], plan))
        bought = ranked[: min(self._batch, self._ledger.left)]
        self._ledger.announce(bought)
        for plan in bought:
            self._ledger.loss(plan)
        return len(bought)

    def _policy(self) -> Any:
        try:
            from ravn.allocators.vector import BitWidthVecEnv
        except ImportError as error:
            raise MissingPackageError("gymnasium", "rl") from error
        options, problem = self._options, self._ledger.problem
        episodes = Episodes(problem, self._starts.table, self._window(), options.episodes)
        self._environment = BitWidthVecEnv(episodes, options.episodes, score=self._score, shaping=options.shaping)
        return agent(
            self._environment,
            seed=options.seed,
            steps=len(problem.units),
            rate=options.rate,
            batch=options.batch,
            epochs=options.epochs,
            entropy=options.entropy,
            hidden=32,
        )
