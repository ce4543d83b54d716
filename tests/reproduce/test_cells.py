"""Cells have files of their own, and are run in order while there is time; one that fails stops no other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.arms import ARMS
from ravn.errors import ArtifactError, BudgetError, InputError, MissingPackageError, RavnError
from ravn.reproduce.catalogue import DATASETS, NETWORKS
from ravn.reproduce.cells import FLOAT, FOUR_BIT, PROPOSED, SAME_BYTES, Cell, Record, Results
from ravn.reproduce.schedule import TABLES, NotRun, Options, cells_of, run_all

quick = settings(deadline=None, derandomize=True)
cells = st.builds(
    Cell,
    st.sampled_from(list(DATASETS)),
    st.sampled_from(list(NETWORKS)),
    st.sampled_from((FLOAT, FOUR_BIT, SAME_BYTES, PROPOSED, *ARMS)),
    st.floats(0.01, 32).map(lambda bits: float(f"{bits:.12g}")),
    st.integers(0, 999),
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(["default", "paper"]),
)
CELLS = cells_of("all", Options(("resnet20", "mobilenet"), ("cifar10", "cifar100"), seeds=2))


def record_of(cell: Cell, seconds: float = 1.0) -> Record:
    return Record(cell, "cifar:resnet20", 9, 10, 90.0, 91.0, 92.0, 30, 4.0, {"search": seconds})


class Clock:
    """Time that passes only while cells are run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@given(cells, cells)
@quick
def test_no_two_cells_share_a_file(first: Cell, second: Cell) -> None:
    assert (first.key == second.key) == (first == second)
    nearly = replace(first, bits=first.bits * (1 + 1e-9))
    assert nearly.key != first.key
    assert "/" not in first.key


@given(st.lists(cells, max_size=4, unique=True))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_records_are_found_by_their_cells_alone(tmp_path_factory, found: list[Cell]) -> None:
    results = Results(tmp_path_factory.mktemp("cells") / "results")
    assert list(results) == []
    for number, cell in enumerate(found):
        assert results.find(cell) is None
        results.keep(record_of(cell, seconds=float(number)))
    assert [results.find(cell) for cell in found] == [record_of(c, float(n)) for n, c in enumerate(found)]
    assert {r.cell for r in results} == set(found)


def test_a_record_under_the_name_of_another_cell_is_refused(tmp_path: Path) -> None:
    results, (cell, other) = Results(tmp_path), CELLS[:2]
    results.keep(record_of(other))
    (tmp_path / f"{other.key}.json").rename(tmp_path / f"{cell.key}.json")
    with pytest.raises(InputError, match=rf"{cell.key}\.json holds the result of {other.key}; rename it, or remove it"):
        results.find(cell)


def test_a_record_without_what_came_later_is_still_read(tmp_path: Path) -> None:
    document = json.loads(record_of(CELLS[0]).to_json())
    for later in ("seconds", "energy", "memory", "provenance"):
        del document[later]
    del document["cell"]["preset"]
    assert Record.from_json(json.dumps(document), "it") == replace(record_of(CELLS[0]), seconds={})


@pytest.mark.parametrize("name", ["all", *TABLES])
def test_cells_are_asked_for_once_and_pair_by_pair(name: str) -> None:
    options = Options(("resnet20", "mobilenet"), ("cifar10", "cifar100"), seeds=2)
    found = cells_of(name, options)
    assert len(set(found)) == len(found)
    pairs = [(cell.dataset, cell.network) for cell in found]
    assert pairs == sorted(pairs, key=list(dict.fromkeys(pairs)).index)
    assert set(found) <= set(CELLS)
    assert {cell.seed for cell in found} == ({0, 1} if name in ("all", "table6") else {0})


@given(st.lists(st.floats(1, 600), min_size=len(CELLS), max_size=len(CELLS)), st.floats(0, 60))
@quick
def test_no_cell_is_begun_that_would_take_longer_than_is_left(lengths: list[float], minutes: float) -> None:
    clock, begun = Clock(), []

    def run(cell: Cell) -> Record:
        before = [lengths[CELLS.index(c)] for c in begun if (c.dataset, c.network) == (cell.dataset, cell.network)]
        assert clock.seconds + max(before, default=0.0) <= 60 * minutes + 1e-6
        begun.append(cell)
        clock.seconds += lengths[CELLS.index(cell)]
        return record_of(cell)

    done = list(run_all(CELLS, run, Results(Path("/no/such/folder")), minutes=minutes, clock=clock))
    assert [item.cell for item in done] == CELLS
    assert [item.cell for item in done if isinstance(item, Record)] == begun
    assert all("min left" in item.reason for item in done if isinstance(item, NotRun))


@pytest.mark.parametrize(
    "error",
    [
        InputError("no weights"),
        BudgetError("too small", 9),
        ArtifactError("broken"),
        MissingPackageError("gymnasium", "rl"),
        RavnError("the loss became nan"),
    ],
)
def test_a_cell_that_fails_is_told_and_stops_no_other(error: RavnError) -> None:
    def run(cell: Cell) -> Record:
        if cell == CELLS[1]:
            raise error
        return record_of(cell)

    done = list(run_all(CELLS[:3], run, Results(Path("/no/such/folder"))))
    assert done == [record_of(CELLS[0]), NotRun(CELLS[1], str(error)), record_of(CELLS[2])]


def test_a_fault_of_our_own_is_no_reason_not_to_run() -> None:
    def run(cell: Cell) -> Record:
        raise ZeroDivisionError(cell.key)

    with pytest.raises(ZeroDivisionError):
        list(run_all(CELLS, run, Results(Path("/no/such/folder"))))
