"""A trained network on digits in a file, and the command line in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ravn.adapters import make_task
from ravn.adapters.weights import weights_bytes
from ravn.cli.app import run
from ravn.training.float_training import train_float

Ravn = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float weights of digits:resnet8 after two epochs."""
    path = tmp_path_factory.mktemp("weights") / "float.safetensors"
    task = make_task("digits:resnet8", "digits")
    path.write_bytes(weights_bytes(train_float(task, 2)))
    return path


@pytest.fixture
def ravn(capsys: pytest.CaptureFixture[str]) -> Ravn:
    """Run one command line: exit code, output and error stream."""

    def call(*words: object) -> tuple[int, str, str]:
        threads = torch.get_num_threads()
        code = run([str(word) for word in words])
        assert torch.get_num_threads() == threads
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
