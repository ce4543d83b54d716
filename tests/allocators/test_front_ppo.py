"""One policy for several budgets: every budget is met, what one pays for all know, and it works on other networks."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade
from contenders import watched

from ravn.allocators import Problem
from ravn.allocators.episodes import Episodes
from ravn.allocators.front_ppo import FrontPPO
from ravn.allocators.ledger import JointLedger, logged
from ravn.allocators.problem import FLOAT, Selection, allocations
from ravn.allocators.scenes import Window
from ravn.allocators.selections import distortions, table_of
from ravn.allocators.starts import joint_starts
from ravn.allocators.views import Described
from ravn.errors import BudgetError, InputError

pytest.importorskip("sb3_contrib", reason="PPO needs it")

BITS = (0.8, 1.5, 2.2, 3.4)


def small(seed: int = 0, policy: bytes = b"") -> FrontPPO:
    """A policy that is hardly trained: the laws hold all the same."""
    return FrontPPO(seed, rounds=4, episodes=16, rollouts=1, epochs=1, batch=64, policy=policy)


def budgets(units: int = 7, evaluations: int = 15, *, seed: int = 3, bits: Sequence[float] = BITS) -> list[Problem]:
    """One network at several budgets."""
    return [cascade(units, 13, seed=seed, bits=b, evaluations=evaluations) for b in bits]


def together(problems: Sequence[Problem]) -> tuple[list[Problem], list[Selection]]:
    """The same problems under one watch."""
    first, asked = watched(problems[0])
    return [replace(problem, loss=first.loss) for problem in problems], asked


@pytest.fixture(scope="module")
def trained() -> bytes:
    return small().allocate_all(budgets())[0].policy


def test_every_budget_is_met_and_no_plan_is_paid_twice():
    problems, asked = together(budgets())
    found = small().allocate_all(problems)
    assert all(problem.fits(a.selection) for problem, a in zip(problems, found, strict=True))
    assert len(asked) == len(set(asked)) == found[0].evaluations <= 15 * len(BITS)
    assert {a.evaluations for a in found} == {len(asked)}
    largest = problems[-1]
    assert all(largest.fits(plan) for plan in asked if FLOAT not in plan)


def test_no_plan_is_worse_than_its_start_on_the_holdout_images():
    problems = budgets()
    ledger = JointLedger(problems)
    starts = joint_starts(ledger)
    for problem, start, found in zip(problems, starts, small().allocate_all(problems), strict=True):
        assert problem.holdout_loss(found.selection) <= min(map(problem.holdout_loss, start.plans))


def test_a_larger_budget_knows_what_a_smaller_one_paid_for():
    ledger = JointLedger(budgets())
    plan = ledger.parts[0].problem.equal
    ledger.loss(plan)
    assert [part.best for part in ledger.parts] == [plan] * len(BITS)
    assert {part.left for part in ledger.parts} == {15 * len(BITS) - 1}
    ledger.loss(ledger.parts[-1].problem.equal)
    assert ledger.parts[0].best == plan != ledger.parts[-1].best


def test_the_answers_depend_on_the_seed_alone():
    paths = []
    for seed in (1, 1, 2):
        problems, asked = together(budgets())
        paths.append((asked, small(seed).allocate_all(problems)))
    assert paths[0] == paths[1]
    assert paths[0][0] != paths[2][0]


def test_a_search_killed_at_any_evaluation_ends_with_the_plans_of_an_undisturbed_one(tmp_path):
    problems = budgets(5)
    undisturbed, generator = small().allocate_all(problems), random.Random(0)
    for trial in range(4):
        calls = [generator.randrange(undisturbed[0].evaluations)]

        def loss(selection: Selection, calls: list[int] = calls) -> float:
            calls[0] -= 1
            if calls[0] < 0:
                raise KeyboardInterrupt
            return problems[0].loss(selection)

        log = tmp_path / f"{trial}.jsonl"
        for score in (loss, problems[0].loss):
            kept = logged(replace(problems[0], loss=score), log).loss
            try:
                found = small().allocate_all([replace(problem, loss=kept) for problem in problems])
            except KeyboardInterrupt:
                continue
        assert found == undisturbed


@pytest.mark.parametrize("evaluations", [0, 1, 3])
def test_with_few_evaluations_there_are_plans_too(evaluations, trained):
    problems, asked = together(budgets(evaluations=evaluations))
    for policy in (b"", trained):
        found = small(policy=policy).allocate_all(problems)
        assert all(problem.fits(a.selection) for problem, a in zip(problems, found, strict=True))
    assert len(asked) <= 2 * evaluations * len(BITS)


@pytest.mark.parametrize("broken", [math.inf, math.nan, 0.0, -1e-9])
def test_losses_without_a_logarithm_do_not_stop_the_search(broken):
    problems = budgets()
    odd = [replace(p, loss=lambda s: problems[0].loss(s) if FLOAT in s else broken) for p in problems]
    found = small().allocate_all(odd)
    assert all(problem.fits(a.selection) for problem, a in zip(problems, found, strict=True))


def test_a_budget_at_which_the_network_overflows_does_not_stop_the_others():
    problems = budgets()
    limit = problems[0].capacity_bytes

    def loss(selection: Selection) -> float:
        tiny = FLOAT not in selection and problems[0].size_bytes(selection) <= limit
        return math.inf if tiny else problems[0].loss(selection)

    found = small().allocate_all([replace(p, loss=loss, holdout_loss=loss) for p in problems])
    assert all(problem.fits(a.selection) for problem, a in zip(problems, found, strict=True))
    assert found[0].curve[-1][1] == math.inf > found[1].curve[-1][1]


def test_a_budget_below_the_smallest_choices_is_refused():
    problems = budgets()
    floor = problems[0].size_bytes((0,) * 7)
    problems[1] = replace(problems[1], capacity_bytes=floor - 1, equal=(0,) * 7)
    with pytest.raises(BudgetError) as refusal:
        small().allocate_all(problems)
    assert refusal.value.smallest_bytes == floor


@pytest.mark.parametrize("units", [1, 4, 12])
def test_a_policy_works_on_networks_of_any_depth_at_any_budget_without_training(units, trained):
    for bits in (0.9, 1.8, 4.5):
        problem, asked = watched(cascade(units, 13, seed=9, bits=bits, evaluations=0))
        first, second = (small(policy=trained).allocate_all([problem])[0] for _ in range(2))
        assert first == second
        assert problem.fits(first.selection)
        assert first.policy == trained
        assert not asked


def test_a_policy_that_is_used_with_evaluations_is_trained_further(trained):
    problem = cascade(6, 13, seed=9, evaluations=40)
    assert small(policy=trained).allocate_all([problem])[0].policy != trained
    untouched = replace(small(policy=trained), rounds=0)
    assert untouched.allocate_all([problem])[0].policy == trained


def test_a_policy_for_units_that_are_described_otherwise_is_refused(trained):
    problem = cascade(5, 9)
    units = tuple(replace(unit, features=(*unit.features, 0.5)) for unit in problem.units)
    with pytest.raises(InputError, match="units of 2 features and 5 actions; here are 3 and 5"):
        small(policy=trained).allocate_all([replace(problem, units=units)])


def test_what_the_policy_sees_tells_budgets_and_units_apart_and_has_one_length_for_all_networks():
    widths = set()
    for units in (3, 8):
        problems = budgets(units)
        table = table_of(problems[-1], distortions(problems[-1]))
        windows = [Window(p.equal, 1.0, 2, p.capacity_bytes, (p.equal, p.equal)) for p in problems]
        episodes = Episodes(problems[-1], table, windows, len(windows), Described(2))
        seen = []
        while not episodes.done:
            seen.extend(map(tuple, episodes.observations()))
            episodes.decide(np.full(len(windows), 2))
        assert len(set(seen)) == units * len(windows)
        assert episodes.plans() >= [p.equal for p in problems]
        widths.add(episodes.width)
    assert len(widths) == 1


def test_an_allocator_that_can_not_search_for_several_budgets_solves_one_after_the_other():
    class Equal:
        name = "equal"
        calls = itertools.count()

        def allocate(self, problem: Problem):
            next(self.calls)
            return problem.equal

    problems, allocator = budgets(), Equal()
    assert allocations(allocator, problems) == [problem.equal for problem in problems]
    assert next(allocator.calls) == len(BITS)


def test_one_policy_for_all_budgets_improves_on_the_cheap_starts():
    ratios = []
    for seed in range(2):
        problems = budgets(10, 40, seed=seed)
        ledger = JointLedger(problems)
        starts = joint_starts(ledger)
        found = FrontPPO(seed, rounds=10, episodes=32).allocate_all(problems)
        best = [min(p.loss(plan) for plan in s.plans) for p, s in zip(problems, starts, strict=True)]
        ratios += [a.curve[-1][1] / loss for a, loss in zip(found, best, strict=True)]
    assert max(ratios) <= 1
    assert np.mean(ratios) < 0.95
