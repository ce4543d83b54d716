"""Memory and energy of a compressed file, in a process of its own: `probe` starts this module as a program."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ravn.adapters import build_model
from ravn.artifact import read
from ravn.errors import RavnError
from ravn.exporters.inputs import example_input
from ravn.exporters.runtimes import torch_runtimes
from ravn.exporters.verification import random_like
from ravn.metrics.memory import resident_bytes
from ravn.metrics.runtimes import measure_runtimes
from ravn.pipeline import load
from ravn.runtime import fixed_rates

REPEATS = 5


def probe(file: Path, batch: int, country: str) -> dict[str, Any]:
    """Measure a file in a fresh process, whose memory nothing else has touched.

    Args:
        file: a .ravn file that names its network.
        batch: images of a call.
        country: whose grid factor turns energy into CO2; "" measures no energy.

    Returns:
        What `measured` gives.

    Raises:
        RavnError: the process failed.
    """
    words = [sys.executable, "-m", "ravn.reproduce.probe", str(file), str(batch), country]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RavnError(f"the memory of {file} can't be measured: {told[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(file: Path, batch: int, country: str) -> dict[str, Any]:
    """The batch, resident bytes of the process, and a row for the float and one for the packed network."""
    artifact = read(file)
    # Our own file of a moment ago: whatever it names was built before.
    network = load(file, build_model(artifact.model, artifact.preprocessing.get("classes")))
    inputs = random_like(example_input(artifact.preprocessing, None), batch, seed=0)
    runtimes = torch_runtimes(network, fixed_rates(artifact.layers), artifact.tied, inputs, 0)
    rows = measure_runtimes(runtimes, batch, REPEATS, country or None)
    named = {row.runtime.rpartition(" ")[2]: asdict(row) for row in rows}
    return {"batch": batch, "process_resident_bytes": resident_bytes(), **named}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
