"""A TensorBoard log has every figure of a training once, also when it was interrupted."""

from pathlib import Path

import pytest

from ravn.progress import Later, Silent
from ravn.reports.training_log import tensorboard_log

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra tensorboard"
)


def written(folder: Path, steps: range, *, first: int | None = 0, validated: int = 0) -> None:
    with tensorboard_log(Silent(), folder) as progress:
        for step in steps:
            Later(progress, first).figures(step, {"loss/total": 1 / step, "bits per weight": 1.0})
        if validated:
            progress.figures(validated, {"validation/accuracy": 90.0})


def read(folder: Path, name: str) -> list[tuple[int, float]]:
    found = accumulator.EventAccumulator(str(folder), purge_orphaned_data=True)
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(name)]


def test_figures_come_back(tmp_path: Path) -> None:
    written(tmp_path / "log", range(1, 5), validated=4)
    assert read(tmp_path / "log", "loss/total") == [(s, pytest.approx(1 / s)) for s in range(1, 5)]
    assert read(tmp_path / "log", "validation/accuracy") == [(4, 90.0)]


def test_a_training_that_goes_on_has_no_step_twice(tmp_path: Path) -> None:
    written(tmp_path, range(1, 8), validated=4)
    # It was killed in step 7, and goes on behind the epoch that ended with step 4.
    written(tmp_path, range(5, 9), validated=8)
    assert [step for step, _ in read(tmp_path, "loss/total")] == list(range(1, 9))
    assert [step for step, _ in read(tmp_path, "validation/accuracy")] == [4, 8]


def test_later_rounds_count_on_and_trials_are_not_logged(tmp_path: Path) -> None:
    written(tmp_path, range(1, 3), first=10)
    written(tmp_path, range(1, 3), first=None)
    assert [step for step, _ in read(tmp_path, "bits per weight")] == [11, 12]


def test_nothing_is_made_without_figures(tmp_path: Path) -> None:
    written(tmp_path / "log", range(0))
    assert not (tmp_path / "log").exists()
