"""A policy as a file: a safetensors container whose metadata tell the architecture; nothing in it is executed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ravn.errors import InputError

FORMAT = "ravn-policy-1"
"""The only key of the metadata, since their order in a file is any; its value is the architecture as JSON."""

MOST_BYTES = 1 << 24
_MOST_WIDE = 1 << 12

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Architecture:
    """What weights belong to.

    Args:
        features: numbers that describe a unit (`Unit.features`).
        width: length of an observation.
        actions: number of actions.
        hidden: width of the hidden layer.
    """

    features: int
    width: int
    actions: int
    hidden: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, by the names of stable-baselines3."""
        hidden, ends = "mlp_extractor.{}_net.0", {"action_net": self.actions, "value_net": 1}
        matrices = {hidden.format(net): (self.hidden, self.width) for net in ("policy", "value")}
        matrices |= {net: (outputs, self.hidden) for net, outputs in ends.items()}
        return {f"{n}.weight": s for n, s in matrices.items()} | {f"{n}.bias": s[:1] for n, s in matrices.items()}


def policy_bytes(architecture: Architecture, weights: Weights) -> bytes:
    """The file of a policy."""
    return save(dict(weights), {FORMAT: json.dumps(asdict(architecture))})


def read_policy(path: Path) -> bytes:
    """The bytes of a policy's file, once they are known to be one.

    Raises:
        InputError: there is no such file, or it is not a policy that ravn wrote.
    """
    if not path.is_file():
        raise InputError(f"there is no policy {str(path)!r}; give the policy.safetensors of a run")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"the policy {str(path)!r} can't be read ({error})") from error
    parsed(data, str(path))
    return data


def parsed(data: bytes, source: str = "the policy") -> tuple[Architecture, dict[str, NDArray[np.float32]]]:
    """Architecture and weights in the bytes of a file.

    Args:
        data: the bytes.
        source: what an error calls them.

    Raises:
        InputError: they are not those of a policy that ravn wrote.
    """
    foreign = f"{source} is not a policy that ravn wrote; give the policy.safetensors of a run"
    try:
        if len(data) > MOST_BYTES:
            raise InputError(foreign)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        words = json.loads(header["__metadata__"][FORMAT])
        architecture = Architecture(**{name: int(value) for name, value in words.items()})
        weights = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(foreign) from error
    if not all(0 <= size <= _MOST_WIDE for size in asdict(architecture).values()):
        raise InputError(foreign)
    if {name: weight.shape for name, weight in weights.items()} != architecture.shapes():
        raise InputError(f"{source} is damaged: its weights are not those of the network that it names")
    if not all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights.values()):
        raise InputError(f"{source} is damaged: it holds weights that are not finite numbers of 32 bits")
    return architecture, weights
