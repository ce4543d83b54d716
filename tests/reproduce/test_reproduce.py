"""Cells run once, end at equal bytes, and become tables; what was not run is said to be so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ravn.artifact import read
from ravn.errors import InputError, MissingPackageError
from ravn.metrics.energy import Energy
from ravn.progress import Silent
from ravn.reproduce.archive import Archive
from ravn.reproduce.catalogue import Sources
from ravn.reproduce.cells import FLOAT, PROPOSED, Cell, Record, Results
from ravn.reproduce.figures import FIGURES, draw_figures, tsne
from ravn.reproduce.rendering import html, markdown
from ravn.reproduce.running import Runner, Study
from ravn.reproduce.schedule import TABLES, NotRun, Options, cells_of, run_all
from ravn.reproduce.tables import MAKERS

OPTIONS = Options(("resnet8",), ("digits",), bits=4.0, ablation_bits=2.9, seeds=1, evaluations=2)
MARGIN, TOLERANCE = 32, 0.005
"""Bytes that a file keeps for its header, and the share of the capacity that rounding may leave."""


@pytest.fixture(scope="module")
def study(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "digits_resnet8.safetensors").write_bytes(weights.read_bytes())
    return Study(Sources(folder), Results(folder / "results"), country="", batch=4)


@pytest.fixture(scope="module")
def records(study: Study) -> list[Record]:
    """All tables of a small network on digits."""
    runner = Runner(study, "ravn reproduce all", Silent())
    done = list(run_all(cells_of("all", OPTIONS), runner.run, study.results))
    assert all(isinstance(item, Record) for item in done)
    return done


def refuse(cell: Cell) -> Record:
    pytest.fail(f"{cell.key} is run again")


def test_a_finished_cell_is_never_run_again(study: Study, records: list[Record]) -> None:
    again = list(run_all(cells_of("all", OPTIONS), refuse, study.results, minutes=0.0))
    assert again == records
    assert {record.cell for record in study.results} == {record.cell for record in records}


def test_arms_and_rivals_end_at_equal_bytes(study: Study, records: list[Record]) -> None:
    found = {record.cell.method: record for record in records}
    for method, rival in (("aq", "vq"), ("rl+aq", "vq"), ("full", "vq"), ("4-bit-our-bytes", PROPOSED)):
        assert found[method].cell.rival == rival
        assert found[method].file_bytes <= found[rival].file_bytes
    for method in ("aq", "rl+aq", "full"):
        assert found[method].file_bytes >= (1 - TOLERANCE) * found["vq"].file_bytes - MARGIN
    assert len({record.cell.epochs for record in records}) == 1


def test_what_is_recorded_is_measured(study: Study, records: list[Record]) -> None:
    for record in records:
        assert record.test_images == 700
        assert 0 < record.top1 <= 100 and 0 < record.average_precision <= 100  # noqa: PT018
        assert record.provenance["command"] == "ravn reproduce all"
        assert Record.from_json(record.to_json(), "it") == record
        if record.cell.method != FLOAT:
            file = study.results.runs(record.cell) / "model.ravn"
            assert record.file_bytes == file.stat().st_size
            assert read(file).model == "digits:resnet8"
            assert record.nominal_bits < record.true_bits
    proposed = next(r for r in records if r.cell.method == PROPOSED)
    assert proposed.true_bits <= OPTIONS.bits
    assert proposed.memory["packed"]["weight_bytes"] < proposed.memory["float"]["weight_bytes"] / 2


def test_every_table_has_the_papers_rows_and_ours(records: list[Record]) -> None:
    tables = [make(Archive(records)) for make in MAKERS.values()]
    assert [table.number for table in tables] == [1, 2, 3, 4, 5, 6]
    for table in tables:
        assert any(row.ours for row in table.rows)
        assert all(len(row.cells) == len(table.columns) for row in table.rows)
        assert "ResNet-50" in " ".join(table.not_run)
        assert table.records
    skipped = [NotRun(replace(records[0].cell, network="resnet200", dataset="cifar10"), "no time <left>")]
    page = markdown(tables, skipped, [("Figure 2", "figure2.svg")])
    assert "![Figure 2](figure2.svg)" in page
    proposed = next(r for r in records if r.cell.method == PROPOSED)
    assert f"**{proposed.file_bytes:,}**" in page
    assert f"**{proposed.top1:.2f}**" in page
    assert "ResNet-200 on CIFAR-10, proposed, seed 0: no time <left>" in page
    assert "52 MB" in page and "13.5 bits" in page  # noqa: PT018
    drawn = html(tables, skipped, [("Figure 2", "<svg></svg>")])
    assert "no time &lt;left&gt;" in drawn and "<svg></svg>" in drawn  # noqa: PT018


def test_nothing_run_is_nothing_claimed() -> None:
    for make in MAKERS.values():
        table = make(Archive([]))
        assert not any(row.ours for row in table.rows)
        assert table.not_run


def test_energy_of_a_run_that_was_resumed_is_not_told(study: Study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ravn.reproduce.running.energy_of", lambda run, _: (run(), Energy(7.0, 0.5, "measured")))
    monkeypatch.setattr("ravn.reproduce.running.probe", lambda *_: {})  # a process of its own needs codecarbon
    monkeypatch.setattr(Study, "measures_energy", True)
    cell = Cell("digits", "resnet8", "4-bit", 4.0, 0, 0, 0)
    for place, begun in (("whole", False), ("resumed", True)):
        measured = replace(study, results=Results(tmp_path / place))
        if begun:
            measured.results.runs(cell).mkdir(parents=True)
            (measured.results.runs(cell) / "search-1.jsonl").touch()
        energy = Runner(replace(measured, country="DEU"), "", Silent()).run(cell).energy
        assert energy["source"] == "measured"
        assert energy.get("search", {}).get("joules", 0.0) + energy.get("training", {}).get("joules", 0.0) < 7.0
        assert ("search" in energy) is not begun


def record_of(cell: Cell, minutes: float) -> Record:
    return Record(cell, "digits:resnet8", 10, 10, 90.0, 90.0, 91.0, 10, 4.0, seconds={"search": 60 * minutes})


def test_what_does_not_fit_into_the_time_is_not_begun(tmp_path: Path) -> None:
    results, now = Results(tmp_path), [0.0]
    cells = cells_of("all", replace(OPTIONS, networks=("resnet8", "resnet20"), datasets=("digits",)))

    def run(cell: Cell) -> Record:
        now[0] += 60 * 4
        results.keep(record_of(cell, 4))
        return record_of(cell, 4)

    done = list(run_all(cells, run, results, minutes=10, clock=lambda: now[0]))
    assert [item for item in done if isinstance(item, Record)] == [record_of(cell, 4) for cell in cells[:2]] + [
        record_of(cells[len(cells) // 2], 4)
    ]
    assert all("min needed" in item.reason for item in done if isinstance(item, NotRun))
    again = list(run_all(cells, run, results, minutes=2, clock=lambda: now[0]))
    assert sum(isinstance(item, Record) for item in again) == 3


def test_a_cell_that_can_not_be_run_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    study = Study(Sources(tmp_path), Results(tmp_path / "results"), country="")
    cells = cells_of("table1", Options(("resnet50",), ("cifar10",)))
    done = list(run_all(cells, Runner(study, "", Silent()).run, study.results))
    assert all(isinstance(item, NotRun) for item in done)
    assert "ravn train --model cifar:resnet50 --data cifar10:DIR --out cifar10_resnet50.safetensors" in done[0].reason
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cell": {}}', '{"cell": 3}'])
def test_a_broken_result_is_named(text: str, tmp_path: Path) -> None:
    cell = cells_of("table3", OPTIONS)[0]
    (tmp_path / f"{cell.key}.json").write_text(text)
    with pytest.raises(InputError, match=r"is not a result of ravn reproduce .*; remove it"):
        Results(tmp_path).find(cell)


def test_every_table_asks_for_its_own_methods_once() -> None:
    for name, methods in TABLES.items():
        cells = cells_of(name, OPTIONS)
        assert {cell.method for cell in cells} == set(methods)
        assert len(set(cells)) == len(cells)
    with pytest.raises(InputError, match="there is no 'table7' to reproduce"):
        cells_of("table7", OPTIONS)


def test_the_figures_show_the_same_kernels_before_and_after(study: Study, records, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    def layout(points: np.ndarray) -> np.ndarray:
        seen.append(points)
        return points[:, :2]

    draw_figures(study.results, OPTIONS, study, tmp_path, layout)
    before, after = np.split(seen[0], 2)
    assert before.shape[1] == 9
    assert 0 < np.abs(before - after).max() < np.abs(before).max()
    assert all((tmp_path / name).read_text().startswith("<svg") for name in FIGURES)


def test_without_open_tsne_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openTSNE", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ravn\[figures\]'"):
        tsne(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("table9",), "there is no 'table9' to reproduce"),
        (("table1", "--networks", "alexnet"), "--networks 'alexnet': there is no 'alexnet'"),
        (("table1", "--datasets", ","), "--datasets ',': there is no 'name'"),
        (("table1", "--networks", "resnet50"), "has no float weights cifar10_resnet50.safetensors"),
        (("table1", "--networks", "resnet8"), "resnet8 has no form for cifar10"),
        (("figures",), "run: ravn reproduce table3 first"),
    ],
)
def test_a_bad_option_is_one_sentence(words: tuple[str, ...], sentence: str, ravn: Callable, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = ravn("reproduce", *words, "--country", "")
    assert code == 2
    assert sentence in err.strip().splitlines()[-1]
    assert not out
    assert not list(tmp_path.iterdir())


def test_all_draws_the_page_from_what_is_there_and_runs_nothing_again(
    study: Study, records: list[Record], ravn: Callable, tmp_path: Path
) -> None:
    words = ("--networks", "resnet8", "--datasets", "digits", "--bits", "4", "--ablation-bits", "2.9", "--seeds", "2")
    folders = ("--results", study.results.folder, "--checkpoints", study.sources.checkpoints)
    into = tmp_path / "docs" / "results.md"
    again = ("reproduce", "all", *words, *folders, "--evaluations", "2", "--country", "", "--into", into)
    code, out, err = ravn(*again, "--budget-minutes", "0")
    assert code == 0, err
    assert f"{len(records)} results" in out
    assert "## Asked for and not run\n\n- ResNet-8 on digits, vq, seed 1: about" in into.read_text()
    assert "<table>" in into.with_suffix(".html").read_text()
    code, out, _ = ravn("reproduce", "table3", *words, *folders, "--evaluations", "2", "--country", "")
    assert code == 0
    assert out.startswith("# The paper's tables, measured")
