"""Ctrl-C ends the command in one line whenever it comes, and those who are deaf to it are left alone."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ravn.cli.app import run

SAID = "ravn: interrupted"


def listening() -> None:
    """Before a command starts: let it hear Ctrl-C, also where these tests run in the background and don't."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(words: list[object], module: str, before: Callable[[], object] = listening) -> tuple[int, list[str]]:
    """Exit code and lines of the error stream of a command that gets SIGINT as soon as a module has been imported."""
    command = [sys.executable, "-X", "importtime", "-m", "ravn", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=before
    ) as ravn:
        assert ravn.stderr is not None
        next(line for line in ravn.stderr if line.rpartition("|")[2].strip() == module)
        ravn.send_signal(signal.SIGINT)
        said = [line.strip() for line in ravn.stderr if not line.startswith("import time:")]
    return ravn.returncode, said


@pytest.mark.parametrize(
    "module", ["fnmatch", "numpy", "torch._C", "torch.nn.modules.conv", "torch", "rich.console", "ravn.cli.app"]
)
def test_ctrl_c_during_the_imports_is_one_line(module: str, weights: Path, tmp_path: Path) -> None:
    words = ["compress", "--model", "digits:resnet8", "--weights", weights, "--data", "digits", "--bits", "2.0"]
    code, said = interrupted([*words, "--out", tmp_path / "r"], module)
    assert code == 130
    assert said == [SAID]
    assert not (tmp_path / "r").exists()


def test_ctrl_c_before_the_first_word_is_read_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def begin() -> None:
        raise KeyboardInterrupt

    assert run(["--version"], begin=begin) == 130
    assert capsys.readouterr().err.strip() == SAID


def test_a_command_in_the_background_is_not_interrupted() -> None:
    code, said = interrupted(["--version"], "torch", lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert code == 0
    assert not said
