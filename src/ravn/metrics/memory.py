"""Memory of a network: what its tensors take, and what the process takes."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def tensor_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers; shared ones count once."""
    tensors = {tensor.data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the system doesn't tell (Linux does)."""
    return _status("VmRSS")


def peak_growth_bytes(call: Callable[[], Any]) -> int | None:
    """How far a call raises the resident memory of this process at its peak; None where the system doesn't tell."""
    gc.collect()
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:
        return None
    before = resident_bytes()
    call()
    peak = _status("VmHWM")
    return None if before is None or peak is None else max(peak - before, 0)


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(f"{field}:")]
    return 1024 * int(found[0][1]) if found else None
