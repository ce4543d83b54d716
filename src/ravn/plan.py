"""The decision: which codec, with which bits, for which layer, under which budget."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ravn import typed_json
from ravn.codecs import Codec, codec_from_config
from ravn.errors import InputError

MOST_BYTES = 1 << 53
"""A budget above this is this; a float holds it exactly."""


@dataclass(frozen=True)
class Layer:
    """A weight tensor of the network, known by its name.

    Args:
        name: name of the parameter, such as "layer1.0.conv1.weight".
        kind: class of the module, such as "Conv2d".
        shape: shape of the weight.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Budget:
    """A hard limit on the bytes of the file; exactly one of the three is given.

    Args:
        bits_per_weight: bits of the whole file divided by the number of parameters of the network.
        size_bytes: bytes of the file.
        ratio: float32 bytes of the parameters divided by bytes of the file.

    Raises:
        InputError: none or several are given, or one is not a positive finite number.
    """

    bits_per_weight: float | None = None
    size_bytes: int | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None}
        if len(given) != 1:
            raise InputError(
                f"exactly one of bits_per_weight, size_bytes and ratio makes a budget; got {given or 'none'}"
            )
        name, value = next(iter(given.items()))
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"a budget of {name} = {value} is impossible; give a positive number")

    def limit_bytes(self, parameters: int) -> int:
        """The largest allowed file, in bytes, for a network of so many parameters."""
        if self.size_bytes is not None:
            return min(self.size_bytes, MOST_BYTES)
        if self.ratio is not None:
            return math.floor(min(4 * parameters / self.ratio, MOST_BYTES))
        return math.floor(min((self.bits_per_weight or 0.0) * parameters / 8, MOST_BYTES))


@dataclass(frozen=True)
class Plan:
    """What was decided: one codec configuration per layer.

    Args:
        codecs: codec of each layer, by the layer's name.
        allocator: name of the allocator that decided.
    """

    codecs: Mapping[str, Codec]
    allocator: str = ""

    def to_json(self) -> str:
        """The plan as indented JSON; `Plan.from_json` reads it back."""
        layers = {name: codec.config() for name, codec in self.codecs.items()}
        return json.dumps({"allocator": self.allocator, "layers": layers}, indent=1)

    @classmethod
    def from_json(cls, text: str, source: str = "this") -> "Plan":
        """Read a plan.

        Args:
            text: what `to_json` wrote.
            source: what the error message calls it.

        Raises:
            InputError: the text is not a plan; the message names the field.
        """
        try:
            document = typed_json.loads(_Document, text)
            return cls({name: _codec(name, config) for name, config in document.layers.items()}, document.allocator)
        except InputError as error:
            raise InputError(f"{source} is not a plan that ravn wrote: {error}") from error


@dataclass(frozen=True)
class _Document:
    """What stands in the file of a plan."""

    allocator: str
    layers: dict[str, dict[str, Any]]


def _codec(name: str, config: dict[str, Any]) -> Codec:
    try:
        return codec_from_config(config)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"the field {f'layers.{name}'!r} is no codec: {error}") from error
