"""What a .ravn file holds, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ravn.artifact.checks import brief
from ravn.codecs import Codec, Encoded
from ravn.errors import ArtifactError, InputError


@dataclass(frozen=True, eq=False)
class Artifact:
    """A compressed network: weights as codes, and everything else of its state dict.

    Args:
        model: name from which the network can be rebuilt, such as "cifar:resnet20", or "".
        preprocessing: JSON-able description of how images become inputs; may hold "classes",
            "mean", "std", "size".
        layers: the compressed weights by name, in the order of the network.
        codecs: codec that wrote each layer, by the layer's name.
        tensors: the rest of the state dict: batch norms, biases, buffers.
        tied: name -> the name in `layers` or `tensors` whose tensor it shares.
        allocator: name of the allocator that decided the bits, or "".
        source: what error messages call the artifact, such as the path of its file.

    Raises:
        InputError: a name occurs twice, a layer has no codec of its kind, or a tied name leads
            nowhere.
    """

    model: str
    preprocessing: Mapping[str, Any]
    layers: Mapping[str, Encoded]
    codecs: Mapping[str, Codec]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    allocator: str = ""
    source: str = "this artifact"

    def __post_init__(self) -> None:
        for name in (*self.tensors, *self.tied):
            if name in self.layers or (name in self.tied and name in self.tensors):
                raise InputError(f"{self.source} holds {name!r} twice; every name must be unique")
        if self.layers.keys() != self.codecs.keys():
            name = min(self.layers.keys() ^ self.codecs.keys())
            raise InputError(f"{self.source} must give a codec for each layer; {name!r} has only one of them")
        for name, encoded in self.layers.items():
            if encoded.codec != self.codecs[name].name:
                wrote, given = encoded.codec, self.codecs[name].name
                raise InputError(f"{name!r} was written by the codec {wrote!r}, and not by the given {given!r}")
        for name, first in self.tied.items():
            if first not in self.layers and first not in self.tensors:
                raise InputError(f"{name!r} is tied to {first!r}, which {self.source} doesn't hold")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every entry of the state dict, without decoding anything."""
        shapes = {name: encoded.shape for name, encoded in self.layers.items()}
        shapes |= {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        return shapes | {name: shapes[first] for name, first in self.tied.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Decode every layer; tied names share one tensor.

        Raises:
            ArtifactError: a payload is broken; the message names the layer.
        """
        state = {name: self._decoded(name) for name in self.layers} | dict(self.tensors)
        return state | {name: state[first] for name, first in self.tied.items()}

    def _decoded(self, name: str) -> Tensor:
        try:
            # A crafted scale may overflow: that is told below, in one sentence and no warning.
            with np.errstate(over="ignore", invalid="ignore"):
                weight = self.codecs[name].decode(self.layers[name])
        except ArtifactError as error:
            raise ArtifactError(f"{self.source} is broken: layer {brief(name)!r}: {error}") from error
        if not torch.isfinite(weight).all():
            raise ArtifactError(f"{self.source} is broken: layer {brief(name)!r} holds NaN or infinite weights")
        return weight
