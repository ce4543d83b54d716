"""A finished run on digits, from another process."""

import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ("--evaluations", "4", "--epochs", "0")


@pytest.fixture(scope="session")
def arguments(weights: Path) -> tuple[object, ...]:
    return ("compress", "--model", "digits:resnet8", "--weights", weights, "--data", "digits", *QUICK)


@pytest.fixture(scope="session")
def run_folder(arguments: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "r"
    words = [str(a) for a in (*arguments, "--bits", "2.0", "--allocator", "knapsack", "--out", folder)]
    subprocess.run([sys.executable, "-m", "ravn", *words], check=True, capture_output=True)
    return folder
