"""What a new user types: every wrong word is one sentence and exit code 2, and names are shown as they are."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ravn.cli.options import chosen_budgets
from ravn.cli.progress import Bars, error_output, output

Ravn = Callable[..., tuple[int, str, str]]

BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-7],
    "half": lambda data: data[: len(data) // 2],
    "head alone": lambda data: data[:100],
    "longer": lambda data: data + b"x",
    "a bit in the header": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "a bit in the codes": lambda data: data[:-9000] + bytes([data[-9000] ^ 1]) + data[-8999:],
    "the last bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "nothing": lambda data: b"",
}
READERS = (("inspect",), ("evaluate", "--data", "digits"), ("measure",), ("export", "--pt", "{out}"))


def sentence(told: tuple[int, str, str]) -> str:
    """The one sentence of a refusal."""
    code, out, err = told
    (line,) = err.strip().splitlines()
    assert (code, out) == (2, "")
    assert line.startswith("ravn: ")
    return line


def test_no_word_at_all_shows_the_help_and_no_empty_error(ravn: Ravn) -> None:
    code, out, err = ravn()
    assert code == 2
    assert "Usage" in out + err
    assert "ravn: " not in err


@pytest.mark.parametrize(
    "words", [("compres",), ("--bits", "2"), ("inspect",), ("inspect", "a", "b"), ("evaluate", "a")]
)
def test_a_wrong_command_line_is_one_sentence(words: tuple[str, ...], ravn: Ravn) -> None:
    assert any(text in sentence(ravn(*words)) for text in ("No such", "Missing", "unexpected extra argument"))


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_file_is_named_by_every_command(
    command: tuple[str, ...], broken: str, run_folder: Path, tmp_path: Path, ravn: Ravn
) -> None:
    file = tmp_path / "broken.ravn"
    file.write_bytes(BREAKS[broken]((run_folder / "model.ravn").read_bytes()))
    first, *rest = (word.format(out=tmp_path / "out.pt") for word in command)
    assert str(file) in sentence(ravn(first, file, *rest))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
@pytest.mark.parametrize("file", ["", "/", "/no/such/file", "/dev/null"])
def test_what_is_no_file_is_named(command: tuple[str, ...], file: str, tmp_path: Path, ravn: Ravn) -> None:
    first, *rest = (word.format(out=tmp_path / "out.pt") for word in command)
    assert (file or "'.'") in sentence(ravn(first, file, *rest))


@pytest.mark.parametrize("run", ["", "/", "/no/such/folder", "/dev/null"])
def test_a_report_of_what_is_no_run_is_refused(run: str, ravn: Ravn) -> None:
    assert "holds no result.json; give the folder of a finished run" in sentence(ravn("report", run))


@pytest.mark.parametrize(("option", "text"), [("bits", "2,2.0"), ("size_bytes", "9,10,9"), ("ratio", "4.0,4")])
def test_a_budget_given_twice_is_refused(option: str, text: str) -> None:
    options = dict.fromkeys(("bits", "size_bytes", "ratio")) | {option: text}
    with pytest.raises(ValueError, match=f"'{text}' names a budget twice"):
        chosen_budgets(**options)


def test_measuring_inputs_that_the_network_does_not_take_is_told_at_once(run_folder: Path, ravn: Ravn) -> None:
    code, out, err = ravn("measure", run_folder / "model.ravn", "--input", "3x8x8")
    assert (code, out) == (2, "")
    assert "model.ravn can't take inputs of 3x8x8: Given groups=1" in err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--batch", "99999999999"), "there is not enough memory: "),
        (("--input", "99999x99999x99999"), "an input of 99999x99999x99999 has more than 268,435,456 numbers"),
    ],
)
def test_what_no_memory_holds_is_one_sentence(
    words: tuple[str, ...], complaint: str, run_folder: Path, ravn: Ravn
) -> None:
    assert complaint in sentence(ravn("measure", run_folder / "model.ravn", *words))


def test_an_unknown_country_is_told_before_anything_is_measured(run_folder: Path, ravn: Ravn, monkeypatch) -> None:
    monkeypatch.setattr("ravn.cli.measure.torch_runtimes", lambda *_: pytest.fail("measured"))
    said = sentence(ravn("measure", run_folder / "model.ravn", "--energy", "XXX"))
    assert "XXX" in said or "pip install 'ravn[energy]'" in said


def test_two_exports_into_one_file_are_refused(run_folder: Path, tmp_path: Path, ravn: Ravn) -> None:
    out = tmp_path / "out"
    words = ("export", run_folder / "model.ravn", "--pt", out, "--pt2", tmp_path / "." / "out")
    assert f"{out} can't hold several exports" in sentence(ravn(*words))
    assert not out.exists()


def test_the_pages_of_the_tables_are_written_over_no_other_file(tmp_path: Path, ravn: Ravn) -> None:
    weights = tmp_path / "float.safetensors"
    weights.write_bytes(b"mine")
    assert "has to end in .md" in sentence(ravn("reproduce", "render", "--into", weights))
    page = tmp_path / "page.md"
    page.write_bytes(b"mine")
    words = ("reproduce", "render", "--into", page, "--results", tmp_path / "none")
    assert "holds no results to render" in sentence(ravn(*words))
    assert weights.read_bytes() == page.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("option", ["--bits", "--ablation-bits"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_impossible_bits_of_the_tables_are_told_before_they_are_run(option: str, value: str, ravn: Ravn) -> None:
    assert f"bits_per_weight = {float(value)} is impossible" in sentence(ravn("reproduce", "table1", option, value))


@pytest.mark.parametrize("name", ["[bold]x[/]", "a[/b]c", ":cat:", "python:a:b", "[red", "\\[x]"])
def test_names_are_shown_as_they_are(name: str, run_folder: Path, tmp_path: Path, ravn: Ravn, capsys) -> None:
    file = tmp_path / name.replace("/", "")
    shutil.copy(run_folder / "model.ravn", file)
    code, out, _ = ravn("inspect", file)
    assert code == 0
    assert file.name in out
    assert repr(name) in sentence(ravn("evaluate", file, "--data", "digits", "--model", name))
    Bars().stage(name)
    list(Bars().track([1], name))
    for console in (output(), error_output()):
        console.print(name)
    said = capsys.readouterr()
    assert (said.out.strip(), said.err.split()) == (name, [name, name])


def test_errors_of_our_own_are_not_taken_for_a_lack_of_memory(ravn: Ravn, monkeypatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no such memory format")

    monkeypatch.setattr("ravn.cli.inspect.read", fail)
    with pytest.raises(RuntimeError, match="memory format"):
        ravn("inspect", "x")
    monkeypatch.setattr("ravn.cli.inspect.read", lambda _: torch.empty(1 << 60))
    assert "there is not enough memory" in sentence(ravn("inspect", "x"))
