"""The environments: legal Gymnasium, always within the capacity, and one the same as many."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import stable_baselines3.common.env_checker
from cascade import cascade
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators import Problem
from ravn.allocators.env import BitWidthEnv
from ravn.allocators.episodes import Episodes
from ravn.allocators.problem import Selection
from ravn.allocators.scenes import Window, improvements
from ravn.allocators.selections import distortions, table_of
from ravn.allocators.vector import BitWidthVecEnv
from ravn.errors import InputError


def window_of(problem: Problem, radius: int = 2) -> Window:
    return Window(problem.equal, problem.loss(problem.equal), radius)


def env_of(problem: Problem, radius: int = 2, shaping: float = 0.1) -> BitWidthEnv:
    table = table_of(problem, distortions(problem))
    return BitWidthEnv(problem, table, window_of(problem, radius), score=problem.loss, shaping=shaping)


def ragged(seed: int, bits: float) -> Problem:
    """A problem whose units have between one and nine choices."""
    problem = cascade(6, 9, seed=seed, bits=bits)
    counts = (9, 1, 9, 2, 5, 9)
    units = tuple(replace(u, choices=u.choices[:n]) for u, n in zip(problem.units, counts, strict=True))
    equal = tuple(min(i, n - 1) for i, n in zip(problem.equal, counts, strict=True))
    return replace(problem, units=units, equal=equal)


# An environment that is built by hand has no entry in the registry, and nothing to render.
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes:UserWarning")
@pytest.mark.parametrize("radius", [1, 3])
def test_gymnasium_and_stable_baselines_accept_the_environment(radius):
    check_env(env_of(cascade(5, 9), radius))
    stable_baselines3.common.env_checker.check_env(env_of(cascade(5, 9), radius), warn=True)


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_allowed_actions_ends_within_the_capacity(seed):
    generator = np.random.default_rng(seed)
    problem = ragged(seed, bits=float(generator.uniform(0.6, 3.0)))
    env = env_of(problem, radius=int(generator.integers(1, 5)))
    for _ in range(10):
        env.reset(seed=seed)
        for step in range(len(problem.units)):
            allowed = np.flatnonzero(env.action_masks())
            assert len(allowed)
            seen, reward, done, truncated, info = env.step(generator.choice(allowed))
            assert env.observation_space.contains(seen)
            assert np.isfinite(reward)
            assert (done, truncated) == (step == len(problem.units) - 1, False)
        assert problem.fits(info["selection"])


@given(actions=st.lists(st.integers(0, 4), min_size=6, max_size=6), seed=st.integers(0, 20), bits=st.floats(0.6, 3))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_even_forbidden_actions_end_within_the_capacity(actions, seed, bits):
    problem = ragged(seed, bits)
    env = env_of(problem)
    env.reset()
    for action in actions:
        *_, info = env.step(action)
    assert problem.fits(info["selection"])


@pytest.mark.parametrize("seed", range(10))
def test_an_action_is_allowed_exactly_if_the_window_holds_a_plan_that_goes_on_with_it(seed):
    problem, radius = ragged(seed, bits=1.2), 1
    problem = replace(problem, capacity_bytes=problem.size_bytes(problem.equal) + 30)
    choices = [
        [i for i in range(at - radius, at + radius + 1) if 0 <= i < len(unit.choices)]
        for at, unit in zip(problem.equal, problem.units, strict=True)
    ]
    feasible = [plan for plan in itertools.product(*choices) if problem.fits(plan)]
    episodes = Episodes(problem, table_of(problem, distortions(problem)), window_of(problem, radius), 1)
    generator, decided = np.random.default_rng(seed), ()
    for unit, at in enumerate(problem.equal):
        mask = episodes.masks()[0]
        expected = {plan[unit] - at + radius for plan in feasible if plan[:unit] == decided}
        assert set(np.flatnonzero(mask)) == expected
        action = generator.choice(np.flatnonzero(mask))
        decided = (*decided, int(at + action - radius))
        episodes.decide(np.array([action]))
    assert episodes.done
    assert all(after >= before for before, after in zip(decided, episodes.plans()[0], strict=True))


def test_staying_with_the_incumbent_is_always_allowed_and_its_reward_is_no_gain():
    problem = cascade(8, 9, seed=1)
    full = replace(problem, capacity_bytes=problem.size_bytes(problem.equal))
    env = env_of(full)
    env.reset()
    for _ in full.units:
        assert env.action_masks()[2]
        *_, reward, _, _, info = env.step(2)
    assert info["selection"] == full.equal
    assert reward == pytest.approx(0)


def test_the_last_reward_is_the_relative_improvement_over_the_incumbent():
    problem = cascade(4, 9, seed=1)
    env = env_of(problem, shaping=0.0)
    env.reset()
    rewards = [(step := env.step(1 if unit else 3))[1] for unit in range(4)]
    before, after = problem.loss(problem.equal), problem.loss(step[4]["selection"])
    assert rewards == [0, 0, 0, pytest.approx((before - after) / before)]


@pytest.mark.parametrize(("after", "expected"), [(1.0, 0.5), (2.0, 0.0), (9.0, -1.0), (np.inf, -1.0), (np.nan, -1.0)])
def test_improvements_are_relative_clipped_and_never_undefined(after, expected):
    assert improvements(2.0, np.array([after]))[0] == expected


@pytest.mark.parametrize("shaping", [0.0, 0.3])
def test_many_environments_in_lock_step_are_the_same_as_each_alone(shaping):
    problem, count = ragged(2, bits=1.3), 16
    table, window = table_of(problem, distortions(problem)), window_of(problem)
    played: list[Selection] = []

    def score(plans: list[Selection]) -> np.ndarray:
        played.extend(plans)
        return np.array([problem.loss(plan) for plan in plans])

    many = BitWidthVecEnv(Episodes(problem, table, window, count), count, score=score, shaping=shaping)
    alone = [env_of(problem, shaping=shaping) for _ in range(count)]
    generator = np.random.default_rng(0)
    for _ in range(3):
        seen = many.reset()
        np.testing.assert_array_equal(seen, [env.reset()[0] for env in alone])
        for unit in range(len(problem.units)):
            masks = np.stack(many.env_method("action_masks"))
            np.testing.assert_array_equal(masks, [env.action_masks() for env in alone])
            actions = generator.integers(0, 5, count)
            seen, rewards, ends, infos = many.step(actions)
            steps = [env.step(action) for env, action in zip(alone, actions, strict=True)]
            last = unit == len(problem.units) - 1
            shown = np.stack([info["terminal_observation"] for info in infos]) if last else seen
            np.testing.assert_array_equal(shown, [step[0] for step in steps])
            np.testing.assert_allclose(rewards, [step[1] for step in steps], rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(ends, [step[2] for step in steps])
        assert played[-count:] == [step[4]["selection"] for step in steps]


def test_a_finished_episode_begins_anew_by_itself():
    problem = cascade(4, 9)
    table = table_of(problem, distortions(problem))
    many = BitWidthVecEnv(
        Episodes(problem, table, window_of(problem), 3), 3, score=lambda plans: np.ones(len(plans)), shaping=0.0
    )
    first = many.reset()
    for _ in problem.units:
        seen, _, ends, _ = many.step(np.full(3, 2))
    assert ends.all()
    np.testing.assert_array_equal(seen, first)


def test_the_window_follows_a_new_incumbent_and_refuses_one_that_does_not_fit():
    problem = cascade(4, 9, bits=1.0)
    episodes = Episodes(problem, table_of(problem, distortions(problem)), window_of(problem), 1)
    moved = (problem.equal[0] - 1, *problem.equal[1:])
    tight = replace(problem, capacity_bytes=problem.size_bytes(moved))
    episodes = Episodes(tight, table_of(tight, distortions(tight)), Window(moved, 1.0, 2), 1)
    for _ in problem.units:
        episodes.decide(np.array([2]))
    assert episodes.plans() == [moved]
    with pytest.raises(InputError, match="at most"):
        episodes.recentre(Window((8,) * 4, 1.0, 2))


def test_units_are_told_apart_by_what_the_policy_sees():
    problem = cascade(6, 9)
    env = env_of(problem)
    seen = [env.reset()[0], *(env.step(2)[0] for _ in problem.units[1:])]
    assert len({tuple(row) for row in seen}) == len(problem.units)
