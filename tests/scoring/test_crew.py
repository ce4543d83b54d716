"""A crew answers like one: whatever its size, in the order of the questions, though workers die."""

import copy
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from ravn.allocators import ALLOCATORS, Allocation, Problem
from ravn.allocators.problem import Selection
from ravn.errors import InputError
from ravn.scoring import Judge, Workbench, crew, prepare
from ravn.scoring.crew import Agency, Crew, Question, answer

EVALUATIONS = 40
TRIAL = Question((9,))


class DeathError(Exception):
    """A worker is gone."""


class Thread:
    """A worker in a thread of this process, with a workbench of its own."""

    def __init__(self, bench: Workbench, dies_at: int) -> None:
        self._bench, self._left = copy.deepcopy(bench), dies_at
        self._thread = ThreadPoolExecutor(1)

    def ask(self, question: Question) -> Future[float]:
        return self._thread.submit(self._answer, question)

    def dismiss(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question) -> float:
        self._left -= 1
        if not self._left:
            raise DeathError
        return answer(self._bench, question)


class Desk:
    """A worker whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Question, Future[float]]] = []
        self.dismissed = False

    def ask(self, question: Question) -> Future[float]:
        self.asked.append((question, Future()))
        return self.asked[-1][1]

    def dismiss(self) -> None:
        self.dismissed = True

    def say(self, loss: float | Exception) -> None:
        """Answer the last question."""
        future = self.asked[-1][1]
        if isinstance(loss, Exception):
            future.set_exception(loss)
        else:
            future.set_result(loss)


class Office:
    """Hires desks and remembers them, and what was told."""

    def __init__(self, size: int) -> None:
        self.desks: list[Desk] = []
        self.told: list[str] = []
        self.crew = Crew(Agency(self._hire, size, (DeathError,), self.told.append), TRIAL)

    def _hire(self) -> Desk:
        self.desks.append(Desk())
        return self.desks[-1]

    def begun(self) -> list[Selection]:
        """Plans that were handed out, trials apart."""
        return [q.selection for desk in self.desks for q, _ in desk.asked if q != TRIAL]


def plans(*numbers: int) -> list[Question]:
    return [Question((number,)) for number in numbers]


@pytest.fixture
def bench(network, layers, images, other_images) -> Workbench:
    names = [layer.name for layer in layers]
    judges = Judge(network, names, images), Judge(network, names, other_images)
    return Workbench(network, layers, prepare(network, layers, images, clusters=0, capacity_bytes=400), *judges)


def searched(
    bench: Workbench, name: str, size: int, dies_at: Callable[[int], int] = lambda _: 0
) -> tuple[Allocation, list[tuple[Selection, float]], int]:
    """The answer of an allocator, what it asked for in that order, and how many workers died.

    Args:
        bench: scores plans.
        name: the allocator's.
        size: workers; 0 is none.
        dies_at: the question over which the worker of a number dies; 0 for never.
    """
    problem, told, hired = bench.problem(600, EVALUATIONS), [], iter(range(1000))

    def search(scored: Problem) -> tuple[Allocation, list[tuple[Selection, float]]]:
        asked: list[tuple[Selection, float]] = []

        def loss(selection: Selection) -> float:
            asked.append((selection, scored.loss(selection)))
            return asked[-1][1]

        return ALLOCATORS[name](1).allocate(replace(scored, loss=loss)), asked

    if not size:
        return *search(problem), 0
    agency = Agency(lambda: Thread(bench, dies_at(next(hired))), size, (DeathError,), told.append)
    workers = Crew(agency, Question(problem.equal))
    try:
        return *search(workers.served(problem)), len(told)
    finally:
        workers.dismiss()


@pytest.mark.parametrize("name", [name for name in ALLOCATORS if name != "ppo"])
def test_the_search_is_the_same_with_any_number_of_workers(name: str, bench: Workbench) -> None:
    alone = searched(bench, name, 0)
    for size in (1, 2, 5):
        assert searched(bench, name, size) == alone


@pytest.mark.parametrize("name", ["local", "random", "evolutionary"])
@pytest.mark.parametrize("dies_at", [lambda n: (3, 6, 0)[min(n, 2)], lambda n: 4 * (n == 1)], ids=["both", "one"])
def test_nothing_is_lost_when_workers_die(name: str, dies_at: Callable[[int], int], bench: Workbench) -> None:
    allocation, asked, deaths = searched(bench, name, 2, dies_at)
    assert deaths > 0
    assert (allocation, asked) == searched(bench, name, 0)[:2]


def test_plans_are_begun_in_the_order_announced_and_forgotten_when_others_are() -> None:
    office = Office(2)
    for desk in office.desks:
        desk.say(0.5)
    office.crew.announce(plans(1, 2, 3, 4, 1))
    assert sorted(office.begun()) == [(1,), (2,)]
    office.crew.announce(plans(2, 5, 1, 6))
    first = next(desk for desk in office.desks if desk.asked[-1][0] == Question((1,)))
    first.say(0.1)
    assert office.crew.answer(Question((1,))) == 0.1
    assert first.asked[-1][0] == Question((5,))
    assert (3,) not in office.begun()


def test_a_plan_that_nobody_announced_is_begun_before_those_that_were() -> None:
    office = Office(1)
    office.crew.announce(plans(1, 2))
    desk = office.desks[0]
    desk.say(0.5)
    desk.ask = lambda question: _answered(float(question.selection[0]))  # type: ignore[method-assign]
    assert office.crew.answer(Question((7,))) == 7
    assert office.crew.answer(TRIAL) == 0.5


def _answered(loss: float) -> Future[float]:
    future: Future[float] = Future()
    future.set_result(loss)
    return future


def test_holdout_and_search_are_told_apart(bench: Workbench) -> None:
    problem = bench.problem(600, EVALUATIONS)
    workers = Crew(Agency(lambda: Thread(bench, 0), 2, (DeathError,), print), Question(problem.equal))
    served = workers.served(problem)
    served.announce_holdout([problem.equal])
    assert served.loss(problem.equal) == bench.loss(problem.equal) != bench.holdout_loss(problem.equal)
    assert served.holdout_loss(problem.equal) == bench.holdout_loss(problem.equal)
    workers.dismiss()


def test_an_error_of_the_network_is_raised_as_it_is() -> None:
    office = Office(1)
    office.desks[0].say(0.5)
    office.crew.announce(plans(1))
    office.desks[0].say(ZeroDivisionError("one by zero"))
    with pytest.raises(ZeroDivisionError, match="one by zero"):
        office.crew.answer(Question((1,)))


def test_a_plan_that_kills_every_worker_ends_the_search_with_a_sentence(bench: Workbench) -> None:
    with pytest.raises(InputError, match=r"3 workers died one after another while they scored the plan \("):
        searched(bench, "random", 2, lambda _: 2)


def test_workers_that_die_before_they_start_end_the_search_with_a_sentence(bench: Workbench) -> None:
    with pytest.raises(InputError, match="3 workers died one after another while they started"):
        searched(bench, "random", 2, lambda _: 1)


def test_workers_that_do_not_start_end_the_search_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "START_SECONDS", 0.05)
    start = time.perf_counter()
    with pytest.raises(InputError, match="no worker has started within 0 seconds; see whether the Ray cluster has"):
        Office(2).crew.answer(Question((1,)))
    assert time.perf_counter() - start < 5


def test_workers_that_do_not_agree_to_the_last_bit_are_refused() -> None:
    office = Office(2)
    office.desks[0].say(0.5)
    office.crew.announce([])
    office.desks[1].say(math.nextafter(0.5, 1))
    with pytest.raises(InputError, match=r"two workers give 0\.5 and 0\.5000000000000001 as the loss of the same plan"):
        office.crew.answer(Question((1,)))


def test_all_workers_are_dismissed() -> None:
    office = Office(3)
    office.desks[0].say(0.5)
    office.desks[1].say(0.5)
    office.crew.announce(plans(1))
    office.crew.dismiss()
    assert all(desk.dismissed for desk in office.desks)
