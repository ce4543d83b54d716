"""What a row of figures is made of: bytes, bits and ratios of a file, and what computed them."""

import platform

import torch
from torch import nn

from ravn.result import Measurement
from ravn.version import __version__

FLOAT_BYTES = 4


def measurement(
    method: str,
    accuracy: float,
    file_bytes: int,
    parameters: int,
    evaluations: int,
    seconds: float,
) -> Measurement:
    """A row of the headline table."""
    return Measurement(
        method,
        accuracy,
        file_bytes,
        8 * file_bytes / parameters,
        FLOAT_BYTES * parameters / file_bytes,
        evaluations,
        seconds,
    )


def parameter_count(model: nn.Module) -> int:
    """Number of parameters; tied ones count once."""
    return sum(p.numel() for p in model.parameters())


def versions() -> dict[str, str]:
    """Versions of what computed the result, and the processor's kind."""
    return {
        "ravn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
