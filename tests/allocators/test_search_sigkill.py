"""A search that the system kills at any moment goes on from its log and ends with the plan of an undisturbed one."""

import os
import random
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from cascade import cascade
from contenders import CONTENDERS

from ravn.allocators import Problem
from ravn.allocators.ledger import logged
from ravn.allocators.problem import Selection

SECONDS = 0.004


def slow(problem: Problem) -> Problem:
    """The same problem, whose loss takes a while."""

    def loss(selection: Selection) -> float:
        time.sleep(SECONDS)
        return problem.loss(selection)

    return replace(problem, loss=loss)


def killed_while_searching(name: str, problem: Problem, log: Path, seconds: float) -> int:
    """Search in a process of its own, which is killed after so many seconds; how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child runs one thread
        child = os.fork()
    if not child:
        try:
            CONTENDERS[name](1).allocate(logged(slow(problem), log))
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")
@pytest.mark.parametrize("name", ["local", "surrogate"])
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_moments_ends_with_the_same_plan(name, kills, tmp_path):
    problem = cascade(8, 13, seed=6, evaluations=90)
    undisturbed, generator = CONTENDERS[name](1).allocate(problem), random.Random(0)
    ends = []
    for trial in range(kills):
        log = tmp_path / f"{trial}.jsonl"
        moment = generator.uniform(0.01, 0.9 * SECONDS * undisturbed.evaluations)
        ends.append(killed_while_searching(name, problem, log, moment))
        before = len(log.read_bytes().splitlines()) if log.exists() else 0
        assert before <= 1 + undisturbed.evaluations
        assert CONTENDERS[name](1).allocate(logged(problem, log)) == undisturbed
    assert any(os.WIFSIGNALED(end) for end in ends), "no search was killed: nothing is tested"
