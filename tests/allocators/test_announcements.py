"""What allocators announce: only what they may ask for, in the order in which they ask, and some of it well ahead."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest
from cascade import cascade
from contenders import CONTENDERS

from ravn.allocators import Problem
from ravn.allocators.ledger import AHEAD, Ledger, logged
from ravn.allocators.problem import Selection

EVALUATIONS = 60
EARLY = {"ppo": 0.9, "random": 0.9, "local": 0.9, "evolutionary": 0.5, "surrogate": 0.3, "quadratic": 0.3}
EARLY |= {"knapsack": 0.9, "greedy": 0.9}
"""Least share of the evaluations that were announced together with others."""


def overheard(problem: Problem) -> tuple[Problem, list[Selection], list[list[Selection]]]:
    """The same problem, what is asked, and for each question the announcement that was valid then."""
    asked: list[Selection] = []
    valid: list[list[Selection]] = []
    last: list[Selection] = []

    def loss(selection: Selection) -> float:
        asked.append(selection)
        valid.append(list(last))
        return problem.loss(selection)

    def announce(selections: Sequence[Selection]) -> None:
        last[:] = selections

    return replace(problem, loss=loss, announce=announce), asked, valid


@pytest.mark.parametrize("name", sorted(EARLY))
def test_most_plans_are_announced_together_with_others_before_they_are_asked_for(name: str) -> None:
    problem, asked, valid = overheard(cascade(7, 13, seed=3, evaluations=EVALUATIONS))
    allocation = CONTENDERS[name](0).allocate(problem)
    early = sum(selection in known and len(known) > 1 for selection, known in zip(asked, valid, strict=True))
    assert early >= EARLY[name] * allocation.evaluations


@pytest.mark.parametrize("name", sorted(EARLY))
def test_plans_are_asked_for_in_the_order_announced(name: str) -> None:
    problem, asked, valid = overheard(cascade(7, 13, seed=3, evaluations=EVALUATIONS))
    CONTENDERS[name](0).allocate(problem)
    for number, (selection, known) in enumerate(zip(asked, valid, strict=True)):
        before = known[: known.index(selection)] if selection in known else []
        assert set(before) <= set(asked[:number])


def test_what_is_known_or_can_not_be_paid_for_is_not_announced(tmp_path) -> None:
    problem, _, _ = overheard(cascade(3, 5, evaluations=3))
    heard: list[list[Selection]] = []
    problem = replace(problem, announce=lambda selections: heard.append(list(selections)))
    ledger = Ledger(problem)
    ledger.loss((0, 0, 0))
    ledger.announce([(0, 0, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0), (0, 1, 1)])
    assert heard == [[(0, 0, 1), (0, 1, 0)]]
    written = logged(problem, tmp_path / "log.jsonl")
    written.loss((1, 1, 1))
    written.announce([(1, 1, 1), (2, 1, 1)])
    assert heard[1:] == [[(2, 1, 1)]]


def test_selections_are_handed_on_in_their_order_and_drawn_no_further_than_announced() -> None:
    drawn = count()
    problem, _, valid = overheard(cascade(1, 500, evaluations=400))
    ledger = Ledger(problem)
    stream = ledger.foreseen((number,) for number in drawn)
    for number in range(5):
        selection = next(stream)
        ledger.loss(selection)
        assert selection == (number,)
        assert valid[-1] == [(n,) for n in range(number, number + AHEAD)]
    assert next(drawn) == 4 + AHEAD
    assert list(ledger.foreseen(iter([(7,), (8,)]))) == [(7,), (8,)]
