"""Files of a run that a hand or a crash has changed are read, or refused in a sentence that names file and field."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edits import changed, damaged, edited, places
from ravn.cli import front
from ravn.result import Result

FIELDS = ("rows", "layers", "model", "file_bytes", "test_accuracy", "splits", "trained")
fuzzed = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(code: int, out: str, err: str) -> str:
    """The one sentence of a command that was refused."""
    (line,) = err.strip().splitlines()
    assert (code, out) == (2, "")
    assert line.startswith("ravn: ")
    return line


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A finished run that may be spoilt."""
    return Path(shutil.copytree(run_folder, tmp_path / "r"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports cost nothing; tests of reports draw whatever a result may hold."""
    for module in ("ravn.cli.report", "ravn.cli.front"):
        monkeypatch.setattr(sys.modules[module], "render_html", lambda result, front=(): result.model)


@given(data=st.data())
@fuzzed
def test_an_edited_result_is_read_or_named(data: st.DataObject, run_folder: Path, tmp_path, ravn, drawn) -> None:
    text = data.draw(edited((run_folder / "result.json").read_text()))
    (tmp_path / "result.json").write_text(text, errors="surrogateescape")
    code, out, err = ravn("report", tmp_path)
    if code:
        assert f"{tmp_path / 'result.json'} is not a result that ravn wrote: " in refused(code, out, err)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_lacks_or_is_of_another_type_is_named(field: str, run_folder: Path, tmp_path, ravn) -> None:
    document = json.loads((run_folder / "result.json").read_text())
    for broken, said in (
        (changed(document, (field,)), f"the field '{field}' is missing"),
        (changed(document, (field,), None), f"the field '{field}' is None, and must be "),
        (changed(document, ("layers", 0, field), 1), f"the field 'layers[0].{field}' is none of its fields"),
    ):
        (tmp_path / "result.json").write_text(json.dumps(broken))
        if said.endswith("fields") and field in document["layers"][0]:
            continue
        assert said in refused(*ravn("report", tmp_path))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("rows", 1, "seconds"), "3", "'rows[1].seconds' is '3', and must be a number"),
        (("rows", 1, "file_bytes"), 0, "'rows[1].file_bytes' is 0, and must be a whole number from 1 to"),
        (("test_accuracy",), 100.5, "'test_accuracy' is 100.5, and must be a number from 0 to 100"),
        (("splits", "test"), True, "'splits.test' is True, and must be a whole number"),
        (("rows",), [], "the headline table has no rows"),
        (("layers", 0, "cluster_bits"), [], "has no cluster"),
        (("histogram", "edges"), [0, 1, 0.5], "has no bins between ascending edges"),
        (("search_curve",), [[1]], "'search_curve[0]' is [1], and must be a list of 2"),
    ],
)
def test_a_value_that_can_not_be_is_named(place, value, said: str, run_folder: Path, tmp_path, ravn) -> None:
    document = changed(json.loads((run_folder / "result.json").read_text()), place, value)
    (tmp_path / "result.json").write_text(json.dumps(document))
    assert said in refused(*ravn("report", tmp_path))


@given(data=st.data())
@fuzzed
def test_an_edited_config_is_read_or_named(data: st.DataObject, folder: Path, arguments, ravn) -> None:
    config = folder / "config.yaml"
    text = config.read_text()
    broken = data.draw(damaged(text) | edited(json.dumps(yaml.safe_load(text))))
    try:
        config.write_text(broken, errors="surrogateescape")
        code, out, err = ravn(*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", folder, "--resume")
    finally:
        config.write_text(text)
    if code:
        said = refused(code, out, err)
        assert f"{config} is not that of a run" in said or f"--resume: the run in {folder} was begun with" in said


@pytest.mark.parametrize("cut", [0, 1, 9, 2000, -1])
def test_a_model_that_is_not_whole_is_not_shown_as_finished(cut: int, folder: Path, arguments, ravn) -> None:
    words = (*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", folder, "--resume")
    assert ravn(*words)[0] == 0
    model = folder / "model.ravn"
    model.write_bytes(model.read_bytes()[:cut])
    assert str(model) in refused(*ravn(*words))
    model.unlink()
    assert f"there is no file '{model}'" in refused(*ravn(*words))


def test_a_result_of_another_model_is_told_apart(folder: Path, arguments, ravn) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"file_bytes": result["file_bytes"] + 1}))
    words = (*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", folder, "--resume")
    assert f"{folder / 'result.json'} is not that of {folder / 'model.ravn'}" in refused(*ravn(*words))


@given(data=st.data())
@fuzzed
def test_an_edited_front_is_read_or_named(data: st.DataObject, run_folder: Path, tmp_path, ravn, drawn) -> None:
    result = Result.from_json((run_folder / "result.json").read_text())
    for name in ("2.0-bits", "1.2-bits"):
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(run_folder / "result.json", tmp_path / name)
    front.finish_front(tmp_path, {"2.0-bits": result, "1.2-bits": result})
    text = (tmp_path / front.FRONT).read_text()
    (tmp_path / front.FRONT).write_text(data.draw(edited(text)), errors="surrogateescape")
    code, out, err = ravn("report", tmp_path)
    if code:
        assert str(tmp_path / front.FRONT) in refused(code, out, err)


def test_a_front_without_one_of_its_runs_is_named(run_folder: Path, tmp_path, ravn, drawn) -> None:
    result = Result.from_json((run_folder / "result.json").read_text())
    front.finish_front(tmp_path, {"2.0-bits": result, "../1.2-bits": result})
    assert "tells of '2.0-bits', and" in refused(*ravn("report", tmp_path))
    (tmp_path / "2.0-bits").mkdir()
    shutil.copy(run_folder / "result.json", tmp_path / "2.0-bits")
    assert "tells of '../1.2-bits', and" in refused(*ravn("report", tmp_path))


def test_a_run_that_is_not_finished_says_how_to_go_on(folder: Path, ravn) -> None:
    (folder / "result.json").unlink()
    assert f"the run in {folder} is not finished; go on with it by" in refused(*ravn("report", folder))


def test_all_places_of_a_document_are_found() -> None:
    assert list(places({"a": [1, {"b": 2}], "c": 3})) == [("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)]


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "\0"])
def test_a_model_is_inspected_whatever_lies_beside_it(text: str | None, folder: Path, ravn) -> None:
    whole = ravn("inspect", folder / "model.ravn")[1]
    errors = [layer["error_db"] for layer in json.loads((folder / "result.json").read_text())["layers"]]
    assert all(f"{error:.1f}" in whole for error in errors)
    (folder / "result.json").unlink()
    if text is None:
        (folder / "result.json").mkdir()
    else:
        (folder / "result.json").write_text(text)
    code, out, err = ravn("inspect", folder / "model.ravn")
    assert (code, err) == (0, "")
    assert out.count("\n") == whole.count("\n")
    assert not any(f"{error:.1f}" in out for error in errors)


def test_errors_of_another_model_are_not_shown(folder: Path, ravn) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"file_bytes": result["file_bytes"] + 1}))
    out = ravn("inspect", folder / "model.ravn")[1]
    assert not any(f"{layer['error_db']:.1f}" in out for layer in result["layers"])
