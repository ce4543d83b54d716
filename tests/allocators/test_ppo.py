"""The learned search: never worse than its start on the holdout, without side effects, and worth its evaluations."""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from cascade import cascade
from contenders import global_states, small_ppo, watched

from ravn.allocators import KnapsackAllocator, LocalSearchAllocator, PPOAllocator, Problem
from ravn.errors import MissingPackageError


@pytest.fixture
def problem() -> Problem:
    return cascade(7, 13, seed=2, evaluations=50)


@pytest.fixture
def bystander() -> Iterator[tuple[object, int]]:
    """States of the shared generators that no search leaves behind, and more threads than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    random.seed("bystander")
    np.random.seed(4711)  # noqa: NPY002
    torch.manual_seed(4711)
    yield global_states(), 2
    torch.set_num_threads(threads)


def test_everybody_elses_generators_and_threads_stay_as_they_were(problem, bystander):
    small_ppo().allocate(problem)
    assert (global_states(), torch.get_num_threads()) == bystander


def test_evaluations_see_everybody_elses_generators_and_threads(problem, bystander):
    seen = []

    def loss(selection):
        seen.append((global_states(), torch.get_num_threads()))
        return problem.loss(selection)

    small_ppo().allocate(replace(problem, loss=loss))
    assert len(seen) > 30
    assert all(state == bystander for state in seen)


def test_an_evaluation_that_fails_leaves_generators_and_threads_as_they_were(problem, bystander):
    left = [30]

    def loss(selection):
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("no memory")
        return problem.loss(selection)

    with pytest.raises(RuntimeError, match="no memory"):
        small_ppo().allocate(replace(problem, loss=loss))
    assert (global_states(), torch.get_num_threads()) == bystander


def test_the_answer_depends_on_the_seed_alone(problem):
    paths = []
    for seed, outside in ((4, 0), (4, 1), (5, 0)):
        random.seed(outside)
        np.random.seed(outside)  # noqa: NPY002
        torch.manual_seed(outside)
        copy, asked = watched(problem)
        paths.append((asked, small_ppo(seed).allocate(copy)))
    assert paths[0] == paths[1]
    assert paths[0][0] != paths[2][0]


def test_without_its_package_the_search_says_what_to_install(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingPackageError, match=r"ravn\[rl\]"):
        small_ppo().allocate(problem)


def test_the_search_improves_on_its_start_by_more_than_a_few_percent():
    allocator = PPOAllocator(0, rounds=8, episodes=32, rollouts=2, batch=128)
    ratios = []
    for seed in range(3):
        problem = cascade(8, 13, seed=seed, evaluations=75)
        start = min(problem.loss(problem.equal), problem.loss(KnapsackAllocator().allocate(problem).selection))
        ratios.append(allocator.allocate(problem).curve[-1][1] / start)
    assert max(ratios) <= 1
    assert np.mean(ratios) < 0.95


@pytest.mark.slow
def test_the_search_is_about_as_good_as_the_local_search_with_as_many_evaluations():
    ratios = []
    for seed in range(8):
        problem = cascade(12, 13, seed=seed, evaluations=150)
        learned, local = (a(seed).allocate(problem).selection for a in (PPOAllocator, LocalSearchAllocator))
        ratios.append(problem.loss(learned) / problem.loss(local))
    assert np.mean(ratios) <= 1.05
