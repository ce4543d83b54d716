"""The commands on a small network: what a run folder holds, and that its figures are those of the file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import ravn as library
from ravn.adapters import load_data
from ravn.artifact import read
from ravn.metrics import top1_accuracy


def test_a_run_folder_holds_what_is_promised(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert names == {"model.ravn", "plan.json", "result.json", "report.html", "config.yaml", "search-1.jsonl"}
    assert yaml.safe_load((run_folder / "config.yaml").read_text())["bits"] == "2.0"
    assert library.Plan.from_json((run_folder / "plan.json").read_text()).allocator == "knapsack"


def test_the_reported_size_is_that_of_the_file_and_within_the_budget(run_folder: Path) -> None:
    result = json.loads((run_folder / "result.json").read_text())
    file_bytes = (run_folder / "model.ravn").stat().st_size
    assert result["file_bytes"] == file_bytes
    assert result["bits_per_weight"] == 8 * file_bytes / result["parameters"] <= 2.0
    assert result["bits_per_weight"] > 1.97
    assert result["float_bytes"] == 4 * result["parameters"]
    assert result["allocator"] == "knapsack"
    assert result["seed"] == 0
    assert result["evaluations"] <= 4


def test_the_reported_accuracy_is_that_of_the_file_loaded_in_another_process(run_folder: Path, ravn) -> None:
    result = json.loads((run_folder / "result.json").read_text())
    code, out, _ = ravn("evaluate", run_folder / "model.ravn", "--data", "digits", "--json")
    assert code == 0
    assert json.loads(out)["test_accuracy"] == result["test_accuracy"]
    data = load_data("digits")
    assert top1_accuracy(library.load(run_folder / "model.ravn"), data.test, data.transform) == result["test_accuracy"]


def test_the_same_seed_writes_the_same_file_byte_for_byte(run_folder: Path, arguments, tmp_path: Path, ravn) -> None:
    code, out, _ = ravn(*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", tmp_path / "again")
    assert code == 0
    assert "digits:resnet8" in out
    assert (tmp_path / "again" / "model.ravn").read_bytes() == (run_folder / "model.ravn").read_bytes()


@pytest.mark.parametrize("allocator", ["ppo", "local", "greedy", "uniform", "random"])
def test_every_allocator_respects_the_budget_in_bytes(allocator: str, arguments, tmp_path: Path, ravn) -> None:
    out = tmp_path / "r"
    code, _, err = ravn(*arguments, "--bytes", "16000", "--allocator", allocator, "--out", out)
    assert code == 0, err
    assert 15_000 < (out / "model.ravn").stat().st_size <= 16_000
    assert read(out / "model.ravn").allocator == allocator


def test_a_ratio_is_a_budget_and_training_reports_its_curve(arguments, tmp_path: Path, ravn) -> None:
    words = (*arguments, "--epochs", "2", "--ratio", "20", "--allocator", "uniform", "--out", tmp_path / "r")
    code, _, err = ravn(*words)
    assert code == 0, err
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["file_bytes"] <= result["float_bytes"] / 20
    assert [point[0] for point in result["training_curve"]] == [1.0, 2.0]
    assert not list((tmp_path / "r").glob("checkpoint-*"))


def test_the_paper_preset_clusters_and_alternates(arguments, tmp_path: Path, ravn) -> None:
    words = (*arguments, "--epochs", "2", "--bits", "4.4", "--preset", "paper", "--out", tmp_path / "r")
    code, _, err = ravn(*words)
    assert code == 0, err
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["bits_per_weight"] <= 4.4
    assert {layer["codec"] for layer in result["layers"]} == {"cluster"}
    assert all(0 <= bits <= 8 for layer in result["layers"] for bits in layer["cluster_bits"])
    assert result["evaluations"] == 8


def test_inspect_and_report_read_what_compress_wrote(run_folder: Path, ravn) -> None:
    code, out, _ = ravn("inspect", run_folder / "model.ravn")
    assert code == 0
    assert "layer3.0.conv2.weight" in out
    report = run_folder / "report.html"
    before = report.read_bytes()
    report.unlink()
    code, out, _ = ravn("report", run_folder)
    assert code == 0
    assert report.read_bytes() == before


def test_baselines_are_measured_at_our_bytes(arguments, tmp_path: Path, ravn) -> None:
    out = tmp_path / "r"
    code, _, err = ravn(*arguments, "--bits", "2.0", "--allocator", "uniform", "--baselines", "--out", out)
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    methods = {row["method"]: row for row in result["rows"]}
    assert list(methods) == ["float32", "uniform 4-bit", "uniform, our bytes", "k-means, our bytes", "uniform"]
    assert methods["uniform 4-bit"]["file_bytes"] < 4.3 * result["parameters"] / 8
    for method in ("uniform, our bytes", "k-means, our bytes"):
        assert 0.9 * result["file_bytes"] < methods[method]["file_bytes"] <= result["file_bytes"]


def test_a_finished_run_is_shown_again_and_not_repeated(run_folder: Path, arguments, ravn) -> None:
    words = (*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", run_folder)
    stamp = (run_folder / "model.ravn").stat().st_mtime_ns
    assert ravn(*words)[0] == 2
    code, out, _ = ravn(*words, "--resume")
    assert code == 0
    assert "model.ravn" in out
    assert (run_folder / "model.ravn").stat().st_mtime_ns == stamp
    code, _, err = ravn(*words[:-2], "--seed", "1", "--out", run_folder, "--resume")
    assert code == 2
    assert "--seed 0, not with --seed 1" in err


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_file(run_folder: Path, arguments, tmp_path: Path, ravn) -> None:
    out = tmp_path / "r"
    words = [str(a) for a in (*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", out)]
    words[words.index("--evaluations") + 1] = "400"
    process = subprocess.Popen(
        [sys.executable, "-m", "ravn", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background are deaf to it
    )
    deadline = time.monotonic() + 120
    while not (out / "search-1.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == ("ravn: interrupted; it goes on where it stopped when it is given --resume")
    assert not (out / "model.ravn").exists()
    code, _, err = ravn(*words, "--resume")
    assert code == 0, err
    assert (out / "model.ravn").exists()


@pytest.mark.skipif(os.environ.get("CI") == "true" and sys.platform == "darwin", reason="no /dev/full there")
def test_a_full_disk_is_one_sentence(arguments, tmp_path: Path, ravn, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = ravn(*arguments, "--bits", "2.0", "--allocator", "uniform", "--out", tmp_path / "r")
    assert code == 2
    assert err.strip().endswith("No space left on device")
    assert not (tmp_path / "r").exists()


def test_the_readme_example_runs(tmp_path: Path, monkeypatch) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    program = readme.read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(program, str(readme), "exec"), {})
    assert (tmp_path / "model.ravn").stat().st_size > 0
