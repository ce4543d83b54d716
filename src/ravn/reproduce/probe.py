"""Memory and energy of a compressed file, in processes of their own: `probe` starts this module as a program."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ravn.adapters import build_model
from ravn.artifact import read
from ravn.errors import RavnError
from ravn.exporters.inputs import example_input
from ravn.exporters.verification import random_like
from ravn.loading import RUNTIMES, load
from ravn.metrics.memory import resident_bytes, tensor_bytes
from ravn.metrics.runtimes import Runtime, measure_runtimes

REPEATS = 5


def probe(file: Path, batch: int, country: str) -> dict[str, Any]:
    """Measure a file in each runtime, each in a fresh process: memory that another has freed would hide its peak.

    Args:
        file: a .ravn file that names its network.
        batch: images of a call.
        country: whose grid factor turns energy into CO2; "" measures no energy.

    Returns:
        The batch, and what `measured` gives for "float" and "packed".

    Raises:
        RavnError: a process failed.
    """
    return {"batch": batch, **{runtime: _apart(file, batch, country, runtime) for runtime in RUNTIMES}}


def _apart(file: Path, batch: int, country: str, runtime: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "ravn.reproduce.probe", str(file), str(batch), country, runtime]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RavnError(f"the memory of {file} can't be measured: {told[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(file: Path, batch: int, country: str, runtime: str) -> dict[str, Any]:
    """The row of a runtime in this process, and the process's resident bytes afterwards."""
    artifact = read(file)
    # Our own file of a moment ago: whatever it names was built before.
    model = build_model(artifact.model, artifact.preprocessing.get("classes"))
    network = load(file, model, runtime=runtime)
    inputs = random_like(example_input(artifact.preprocessing, None), batch, seed=0)

    def call() -> Tensor:
        """Run the network once."""
        with torch.inference_mode():
            return network(inputs)

    loaded = Runtime(lambda: call, file.stat().st_size, tensor_bytes(network))
    (row,) = measure_runtimes({runtime: loaded}, batch, REPEATS, country or None)
    return asdict(row) | {"process_resident_bytes": resident_bytes()}


if __name__ == "__main__":
    path, images, place, name = sys.argv[1:]
    sys.stdout.write(json.dumps(measured(Path(path), int(images), place, name)))
