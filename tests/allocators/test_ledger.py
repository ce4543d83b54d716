"""What is paid, remembered and written down; and that a search that was killed goes on as if nothing had been."""

import errno
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cascade import cascade
from contenders import CONTENDERS, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ravn.allocators import Problem
from ravn.allocators.ledger import Ledger, logged
from ravn.allocators.problem import FLOAT, Selection
from ravn.errors import InputError

SEARCHES = ("local", "ppo")


class Killed(Exception):
    """The process ends here."""


def drawing(problem: Problem) -> Problem:
    """The same problem, whose loss draws from everybody's generators, as data loaders and layers do."""

    def loss(selection: Selection) -> float:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        return problem.loss(selection)

    return replace(problem, loss=loss)


def killed_after(problem: Problem, calls: int) -> Problem:
    """The same problem, until its loss was computed so many times."""
    left = [calls]

    def loss(selection: Selection) -> float:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return problem.loss(selection)

    return replace(problem, loss=loss)


@pytest.fixture
def problem() -> Problem:
    return drawing(cascade(5, 9, seed=6, evaluations=32))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_killed_at_any_evaluation_ends_with_the_plan_of_an_undisturbed_one(name, problem, tmp_path):
    undisturbed = CONTENDERS[name](1).allocate(problem)
    generator = random.Random(0)
    for trial in range(20):
        calls, path = generator.randrange(undisturbed.evaluations), tmp_path / f"{trial}.jsonl"
        with pytest.raises(Killed):
            CONTENDERS[name](1).allocate(logged(killed_after(problem, calls), path))
        rest, asked = watched(problem)
        assert CONTENDERS[name](1).allocate(logged(rest, path)) == undisturbed
        assert len(asked) == undisturbed.evaluations - calls


def test_a_search_killed_many_times_pays_every_evaluation_once(problem, tmp_path):
    undisturbed, path = CONTENDERS["local"](1).allocate(problem), tmp_path / "log.jsonl"
    kills = 0
    counted, asked = watched(problem)
    while True:
        try:
            allocation = CONTENDERS["local"](1).allocate(logged(killed_after(counted, 5), path))
            break
        except Killed:
            kills += 1
    assert allocation == undisturbed
    assert kills == (undisturbed.evaluations - 1) // 5
    assert len(asked) == len(set(asked)) == undisturbed.evaluations


def written(problem: Problem, path: Path, name: str = "local") -> list[bytes]:
    """The lines of a finished search's log."""
    CONTENDERS[name](1).allocate(logged(problem, path))
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("kept", [1, 5, -1])
@pytest.mark.parametrize("line", [0, 7, -1])
def test_a_half_written_last_line_is_dropped_and_written_again(line, kept, problem, tmp_path):
    path = tmp_path / "log.jsonl"
    lines = written(problem, path)
    undisturbed = CONTENDERS["local"](1).allocate(problem)
    path.write_bytes(b"".join(lines[:line] if line else []) + lines[line][:kept])
    assert CONTENDERS["local"](1).allocate(logged(problem, path)) == undisturbed
    assert path.read_bytes() == b"".join(lines)


def other_units(problem: Problem) -> Problem:
    units = (replace(problem.units[0], weights=problem.units[0].weights + 1), *problem.units[1:])
    return replace(problem, units=units)


@pytest.mark.parametrize(
    ("changed", "key"),
    [(other_units, "seed 0"), (lambda p: cascade(5, 9, seed=7), "seed 0"), (lambda p: p, "seed 1"), (lambda p: p, "")],
)
def test_the_log_of_other_units_or_another_key_is_refused_and_kept(changed, key, problem, tmp_path):
    path = tmp_path / "log.jsonl"
    CONTENDERS["local"](1).allocate(logged(problem, path, key="seed 0"))
    before = path.read_bytes()
    with pytest.raises(InputError, match="another search"):
        logged(changed(problem), path, key=key)
    assert path.read_bytes() == before


BREAKS: list[Callable[[bytes], bytes]] = [
    lambda line: line[: len(line) // 2] + b"\n",
    lambda line: b"\n",
    lambda line: b"null\n",
    lambda line: b"[1, 2]\n",
    lambda line: b'{"selection": [0, 1]}\n',
    lambda line: b'{"selection": 3, "loss": 1.0}\n',
    lambda line: b'{"selection": ["a"], "loss": 1.0}\n',
    lambda line: b'{"selection": [0], "loss": "much"}\n',
    lambda line: b'{"selection": [1e999], "loss": 1.0}\n',
    lambda line: b'{"selection": [0], "loss": 1%s}\n' % (b"0" * 400),
    lambda line: b"[" * 100_000 + b"\n",
    lambda line: b"\xff" + line,
]


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("line", [0, 4])
def test_a_broken_line_in_the_middle_is_refused_and_the_file_kept(broken, line, problem, tmp_path):
    path = tmp_path / "log.jsonl"
    lines = written(problem, path)
    lines[line] = broken(lines[line])
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=rf"line {line + 1} of .*log\.jsonl is none|log\.jsonl is the log of another"):
        logged(problem, path)
    assert path.read_bytes() == b"".join(lines)


@given(at=st.floats(0, 1, exclude_max=True), letters=st.binary(max_size=3), kept=st.integers(0, 3))
@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_log_is_read_or_named(at, letters, kept, problem, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    whole = b"".join(written(problem, path))
    place = int(at * len(whole))
    path.write_bytes(whole[:place] + letters + whole[place + kept :])
    said = str(path)
    try:
        assert isinstance(logged(problem, path).loss((0,) * 5), float)
    except InputError as error:
        said = str(error)
    assert str(path) in said


def test_searches_with_other_capacities_and_allocators_share_a_log(problem, tmp_path):
    path = tmp_path / "log.jsonl"
    written(problem, path)
    looser, asked = watched(replace(problem, capacity_bytes=problem.capacity_bytes + 200))
    alone = CONTENDERS["knapsack"](0).allocate(looser)
    fresh = len(asked)
    assert CONTENDERS["knapsack"](0).allocate(logged(looser, path)) == alone
    assert 0 < len(asked) - fresh < fresh


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan, 0.1 + 0.2, 5e-324, 1e300])
def test_every_loss_survives_the_log_to_the_last_bit(loss, problem, tmp_path):
    path, selection = tmp_path / "log.jsonl", (0, 1, 2, 3, 4)
    logged(replace(problem, loss=lambda _: loss), path).loss(selection)
    again = logged(replace(problem, loss=lambda _: pytest.fail("paid twice")), path).loss(selection)
    assert np.array_equal(again, loss, equal_nan=True)


def test_the_log_holds_one_line_per_evaluation(problem, tmp_path):
    lines = written(problem, tmp_path / "log.jsonl")
    header, *losses = [json.loads(line) for line in lines]
    assert list(header) == ["problem"]
    assert len(losses) == CONTENDERS["local"](1).allocate(problem).evaluations
    assert all(problem.loss(tuple(line["selection"])) == line["loss"] for line in losses)


def test_a_ledger_pays_once_counts_and_refuses_beyond_the_limit():
    limited, asked = watched(cascade(4, evaluations=2))
    ledger = Ledger(limited)
    first = ledger.loss((1, 1, 1, 1))
    assert ledger.loss((1, 1, 1, 1)) == first
    assert (ledger.left, len(asked)) == (1, 1)
    ledger.loss((FLOAT,) * 4)
    assert ledger.affords((1, 1, 1, 1))
    assert not ledger.affords((2, 1, 1, 1))
    with pytest.raises(InputError, match="2 evaluations"):
        ledger.loss((2, 1, 1, 1))
    assert len(asked) == 2


def test_the_best_of_a_ledger_is_a_plan_within_the_capacity():
    ledger = Ledger(cascade(4, 13, evaluations=9))
    for selection in ((FLOAT,) * 4, (12,) * 4, (0,) * 4, (1, 0, 0, 0)):
        ledger.loss(selection)
    assert ledger.best in ((0,) * 4, (1, 0, 0, 0))
    assert set(ledger.feasible()) == {(0,) * 4, (1, 0, 0, 0)}


def test_losses_that_are_not_finite_count_as_infinite():
    ledger = Ledger(replace(cascade(4), loss=lambda s: {0: math.nan, 1: -math.inf}.get(s[0], 1.0)))
    assert [ledger.loss((i, 0, 0, 0)) for i in range(3)] == [math.inf, math.inf, 1.0]
    assert ledger.best == (2, 0, 0, 0)


def test_a_log_for_which_the_disk_has_no_room_is_named(problem, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = logged(problem, tmp_path / "log.jsonl")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        log.loss((0,) * 5)
    assert caught.value.filename == str(tmp_path / "log.jsonl")
