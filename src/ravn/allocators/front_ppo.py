"""One policy for every budget: PPO whose observations tell budget and layer by their traits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ravn.allocators.agents import agent
from ravn.allocators.episodes import Episodes
from ravn.allocators.ledger import JointLedger, Ledger
from ravn.allocators.policies import Architecture, parsed, policy_bytes
from ravn.allocators.problem import Allocation, Problem, Selection
from ravn.allocators.randomness import PrivateRandomness
from ravn.allocators.scenes import Window
from ravn.allocators.selections import Floats
from ravn.allocators.starts import Starts, conclusion, joint_starts
from ravn.allocators.surrogate import Surrogate
from ravn.allocators.surrogate_search import modelled
from ravn.allocators.views import Described
from ravn.errors import InputError, MissingPackageError

_PATIENCE = 5
_LANDMARKS = 2


@dataclass(frozen=True)
class FrontPPO:
    """Maskable PPO for several budgets at once, conditioned on the budget.

    Half of the episodes begin at each budget's cheap start, and earn what the surrogate expects of any network: the
    luck of single choices is left out. The others begin at the best plan so far, and earn the true loss, or the
    surrogate's optimistic bound. One surrogate is fitted to all that was paid for at any budget; the most promising new
    plans of every budget are paid for. When all evaluations are spent, the policy practises at the cheap starts alone.
    In the end the holdout loss decides, budget by budget, between the best plans on the way, the starting plans and the
    policy's own plan.

    Args:
        seed: seed of the policy.
        radius: largest residual, in steps of a unit's choices.
        rounds: how many times plans are bought, at most; 0 trains nothing.
        last_rounds: how often the policy practises in the end.
        episodes: plans built side by side.
        rollouts: updates of the policy per round, each on one batch of episodes.
        optimism: standard deviations of the surrogate that are taken off its prediction.
        entropy: weight of the policy's entropy in its objective.
        rate: learning rate.
        peak: how much the log-probability of a residual falls per step away from the incumbent, at first.
        epochs: passes over the episodes of an update.
        batch: decisions per gradient step.
        hidden: width of the policy's hidden layer.
        policy: the bytes of a policy's file, to begin with; empty for a new one.
    """

    seed: int = 0
    radius: int = 2
    rounds: int = 40
    last_rounds: int = 6
    episodes: int = 256
    rollouts: int = 2
    optimism: float = 3.0
    entropy: float = 0.1
    rate: float = 3e-3
    peak: float = 1.0
    epochs: int = 4
    batch: int = 640
    hidden: int = 64
    policy: bytes = b""

    def allocate_all(self, problems: Sequence[Problem]) -> list[Allocation]:
        """Return a plan for every budget, never worse than its start on the holdout images.

        Raises:
            BudgetError: even the smallest choices exceed a capacity.
            InputError: the policy to begin with is for units that are described otherwise.
            MissingPackageError: sb3-contrib or gymnasium is not installed.
        """
        ledger = JointLedger(problems)
        starts = joint_starts(ledger)
        if not self.policy and not any(map(modelled, ledger.parts)):
            return [conclusion(part, start) for part, start in zip(ledger.parts, starts, strict=True)]
        search = FrontSearch(self, ledger, starts)
        proposals = search.run()
        ends = zip(ledger.parts, starts, proposals, strict=True)
        trained = search.trained()
        return [replace(conclusion(part, start, plan), policy=trained) for part, start, plan in ends]


class FrontSearch:
    """One run of the allocator: the policy and what it has seen."""

    def __init__(self, options: FrontPPO, ledger: JointLedger, starts: Sequence[Starts]) -> None:
        self._options, self._ledger, self._starts = options, ledger, starts
        self._random = PrivateRandomness(options.seed)
        with self._random:
            self._model = self._learner()

    def run(self) -> list[Selection]:
        """Spend all evaluations, or stop when the policy finds no new plans any more; its own plan for every budget."""
        if self._options.policy:
            self._pay(self.proposals())
        self._spend()
        if self._options.rounds and any(map(modelled, self._ledger.parts)):
            with self._random:
                self._settle()
        return self.proposals()

    def _spend(self) -> None:
        rounds, idle = self._options.rounds, 0
        quota = self._ledger.left / max(1, rounds)
        while rounds and self._ledger.left > 0 and idle < _PATIENCE and any(map(modelled, self._ledger.parts)):
            with self._random:
                self._fit()
                self._practise([part.best for part in self._ledger.parts])
            idle = 0 if self._buy(quota) else idle + 1

    def _settle(self) -> None:
        """Practise at the cheap starts alone, with little left to chance."""
        self._model.ent_coef = self._options.entropy / 10
        self._fit()
        for _ in range(self._options.last_rounds):
            self._practise([])

    def trained(self) -> bytes:
        """The policy as the bytes of a file."""
        weights = {name: tensor.numpy() for name, tensor in self._model.policy.state_dict().items()}
        return policy_bytes(self._architecture, weights)

    def _fit(self) -> None:
        problem, table = self._ledger.problem, self._starts[0].table
        self._surrogate = Surrogate(problem, table, self._ledger.feasible())
        self._seen: list[dict[Selection, float]] = [{} for _ in self._starts]
        self._active = [i for i, part in enumerate(self._ledger.parts) if modelled(part)]

    def _practise(self, bests: Sequence[Selection | None]) -> None:
        """Play from the cheap starts, and from the best plans."""
        homes = [self._home(i) for i in self._active]
        expected = np.exp(self._surrogate.expected(homes)).tolist()
        windows = [self._window(i, plan, loss) for i, plan, loss in zip(self._active, homes, expected, strict=True)]
        better = [(i, plan) for i, plan in enumerate(bests) if plan is not None and i in self._active]
        windows += [self._window(i, plan, self._ledger.known[plan]) for i, plan in better]
        self._windows = len(windows)
        self._environment.recentre(windows)
        self._model.set_env(self._environment, force_reset=True)
        steps = self._options.rollouts * self._options.episodes * len(self._ledger.problem.units)
        self._model.learn(steps, reset_num_timesteps=False)

    def _home(self, budget: int) -> Selection:
        return self._starts[budget].plans[0]

    def _window(self, budget: int, plan: Selection, loss: float = 1.0) -> Window:
        part = self._ledger.parts[budget]
        ends = self._starts[budget].plans
        landmarks = (part.problem.equal, next((p for p in ends if p != part.problem.equal), ends[0]))
        return Window(plan, loss, self._options.radius, part.problem.capacity_bytes, landmarks)

    def _score(self, plans: Sequence[Selection]) -> Floats:
        """What plans earn; episodes take the windows of `_practise` in turn."""
        windows = np.arange(len(plans)) % self._windows
        guesses = self._guessed(plans)
        for plan, window in zip(plans, windows.tolist(), strict=True):
            if plan not in self._ledger.known:
                self._seen[self._active[window % len(self._active)]][plan] = guesses[plan]
        hopes = np.array([self._ledger.known.get(plan, guesses.get(plan, math.inf)) for plan in plans])
        return np.where(windows < len(self._active), np.exp(self._surrogate.expected(plans)), hopes)

    def _guessed(self, plans: Sequence[Selection]) -> dict[Selection, float]:
        """Optimistic bounds of the losses of plans that were not paid for."""
        known = self._ledger.known
        guessed = {plan: guess for row in self._seen for plan, guess in row.items()}
        new = sorted({plan for plan in plans if plan not in known and plan not in guessed})
        if new:
            mean, deviation = self._surrogate.predict(new)
            guessed |= dict(zip(new, np.exp(mean - self._options.optimism * deviation).tolist(), strict=True))
        return guessed

    def _buy(self, quota: float) -> int:
        each = math.ceil(max(1.0, quota / len(self._active)))
        promising: dict[Selection, float] = {}
        for budget in self._active:
            seen, best = self._seen[budget], _best_loss(self._ledger.parts[budget])
            for plan in sorted(seen, key=lambda plan: (seen[plan], plan))[:each]:
                promising[plan] = min(seen[plan] / best, promising.get(plan, math.inf))
        return self._pay(sorted(promising, key=lambda plan: (promising[plan], plan)))

    def _pay(self, plans: Sequence[Selection]) -> int:
        new = [plan for plan in dict.fromkeys(plans) if plan not in self._ledger.known][: self._ledger.left]
        self._ledger.announce(new)
        for plan in new:
            self._ledger.loss(plan)
        return len(new)

    def proposals(self) -> list[Selection]:
        """The plan of every budget that the policy holds for the best."""
        windows = [self._window(i, self._home(i)) for i in range(len(self._starts))]
        episodes = self._episodes(windows, len(windows))
        with self._random:
            while not episodes.done:
                seen, masks = episodes.observations(), episodes.masks()
                actions, _ = self._model.predict(seen, deterministic=True, action_masks=masks)
                episodes.decide(actions)
        return episodes.plans()

    def _episodes(self, windows: Sequence[Window], count: int) -> Episodes:
        return Episodes(self._ledger.problem, self._starts[0].table, windows, count, Described(_LANDMARKS))

    def _learner(self) -> Any:
        try:
            from ravn.allocators.vector import BitWidthVecEnv
        except ImportError as error:
            raise MissingPackageError("gymnasium", "rl") from error
        options, units = self._options, self._ledger.problem.units
        windows = [self._window(i, self._home(i)) for i in range(len(self._starts))]
        episodes = self._episodes(windows, options.episodes)
        self._environment = BitWidthVecEnv(episodes, options.episodes, score=self._score, shaping=0.0)
        hidden = parsed(options.policy)[0].hidden if options.policy else options.hidden
        self._architecture = Architecture(len(units[0].features), episodes.width, episodes.actions, hidden)
        learner = agent(
            self._environment,
            seed=options.seed,
            steps=len(units),
            rate=options.rate,
            batch=options.batch,
            epochs=options.epochs,
            entropy=options.entropy,
            hidden=hidden,
        )
        self._begin(learner)
        return learner

    def _begin(self, learner: Any) -> None:
        """Fill the policy with the weights to begin with, or let it stay with the incumbents."""
        import torch

        if self._options.policy:
            architecture, weights = parsed(self._options.policy)
            if architecture != self._architecture:
                raise InputError(
                    f"the policy is for units of {architecture.features} features and {architecture.actions} actions; "
                    f"here are {self._architecture.features} and {self._architecture.actions}"
                )
            learner.policy.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
            return
        radius, head = self._options.radius, learner.policy.action_net
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(-self._options.peak * torch.arange(-radius, radius + 1).abs())


def _best_loss(ledger: Ledger) -> float:
    return ledger.known[ledger.best] if ledger.best else math.inf
