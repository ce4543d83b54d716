"""Several budgets: one search, one file for each, and the policy that decided."""

import json
from pathlib import Path


def test_several_budgets_make_one_run_each_and_a_front(arguments, tmp_path: Path, ravn) -> None:
    words = (*arguments, "--bits", "2.0,1.2", "--allocator", "knapsack", "--out", tmp_path / "front")
    code, out, err = ravn(*words)
    assert code == 0, err
    points = json.loads((tmp_path / "front" / "front.json").read_text())
    assert [point["folder"] for point in points] == ["2.0-bits", "1.2-bits"]
    for point in points:
        folder = tmp_path / "front" / point["folder"]
        assert (folder / "model.ravn").stat().st_size == point["file_bytes"] <= point["budget_bytes"]
        assert json.loads((folder / "result.json").read_text())["test_accuracy"] == point["test_accuracy"]
        assert point["folder"] in out
        assert 0.98 * point["budget_bytes"] < point["file_bytes"]
    assert {path.parent.name for path in tmp_path.rglob("search-1.jsonl")} == {"front"}
    report = tmp_path / "front" / "report.html"
    page = report.read_text()
    assert "Accuracy by size" in page
    report.unlink()
    code, out, err = ravn("report", tmp_path / "front")
    assert (code, err) == (0, "")
    assert "*/model.ravn" in out
    assert report.read_text() == page
    stamps = [path.stat().st_mtime_ns for path in tmp_path.rglob("model.ravn")]
    assert ravn(*words, "--resume")[0] == 0
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("model.ravn")] == stamps


def test_one_policy_decides_for_several_budgets_resumes_and_is_used_again(arguments, tmp_path: Path, ravn) -> None:
    front, words = tmp_path / "front", (*arguments, "--seed", "1")
    searched = (*words, "--bits", "1.4,3.0", "--out", front)
    code, _, err = ravn(*searched)
    assert code == 0, err
    files = {path.parent.name: path.read_bytes() for path in front.rglob("model.ravn")}
    assert list(front.rglob("policy.safetensors")) == [front / "policy.safetensors"]
    for point in json.loads((front / "front.json").read_text()):
        size, limit = len(files[point["folder"]]), point["budget_bytes"]
        assert 0.98 * limit < size == point["file_bytes"] <= limit
    (front / "3.0-bits" / "result.json").unlink()  # as if it had been killed there
    log = (front / "search-1.jsonl").read_bytes()
    (front / "search-1.jsonl").write_bytes(log[: len(log) // 2])
    code, _, err = ravn(*searched, "--resume")
    assert code == 0, err
    assert (front / "search-1.jsonl").read_bytes() == log
    assert {path.parent.name: path.read_bytes() for path in front.rglob("model.ravn")} == files

    policy, again = front / "policy.safetensors", tmp_path / "again"
    code, _, err = ravn(*words, "--bits", "2.0", "--policy", policy, "--evaluations", "0", "--out", again)
    assert code == 0, err
    assert json.loads((again / "result.json").read_text())["evaluations"] == 0
    assert (again / "policy.safetensors").read_bytes() == policy.read_bytes()
