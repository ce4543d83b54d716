"""Where a figure comes from: the commit, the day, the machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from ravn.measuring import versions

_CPUINFO = Path("/proc/cpuinfo")


def provenance(command: str, device: str) -> dict[str, str]:
    """What is to be said of a run.

    Args:
        command: the command line that runs it again.
        device: where the network ran.
    """
    return {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": hardware(device),
        **{f"{name} version": version for name, version in versions().items() if name != "machine"},
    }


def commit() -> str:
    """Short name of the commit of this source tree, or "" outside of one."""
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def hardware(device: str) -> str:
    """The processor, its threads that torch uses, and the GPU where there is one."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
