"""A disk that is full: one sentence with the name of the file, and nothing half-written."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ravn import Plan
from ravn.cli.run_folder import finish_run
from ravn.pipeline import Compressed
from samples import made_result

WRITTEN = ("model.ravn", "plan.json", "report.html", "result.json")


@pytest.mark.parametrize("number", range(len(WRITTEN)))
def test_a_run_that_can_not_be_kept_names_the_file_and_keeps_what_resuming_needs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(len(WRITTEN)))

    def sync(_: int) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    (tmp_path / "checkpoint-1.pt").touch()
    with pytest.raises(OSError, match="No space left") as caught:
        finish_run(tmp_path, Compressed(b"x", Plan({}), made_result()))
    assert caught.value.filename == str(tmp_path / WRITTEN[number])
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1.pt", *WRITTEN[:number]}
    monkeypatch.undo()
    finish_run(tmp_path, Compressed(b"x", Plan({}), made_result()))
    assert {path.name for path in tmp_path.iterdir()} == set(WRITTEN)


def test_a_path_that_is_no_text_is_kept_and_shown(tmp_path: Path) -> None:
    result = replace(made_result(), data="imagefolder:/tmp/\udcff", command="ravn compress --data '\udcff'")
    finish_run(tmp_path, Compressed(b"x", Plan({}), result))
    assert type(result).from_json((tmp_path / "result.json").read_text()) == result
    assert "imagefolder:/tmp/?" in (tmp_path / "report.html").read_text()
