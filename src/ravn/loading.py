"""A file becomes a network again."""

import copy
from pathlib import Path

from torch import nn

from ravn.adapters import rebuild_model
from ravn.artifact import fill, read, unpack
from ravn.errors import InputError
from ravn.runtime import fixed_rates, pack_network

RUNTIMES = ("float", "packed")


def load(
    path: str | Path, model: nn.Module | None = None, *, runtime: str = "float", weight_cache_bytes: int = 0
) -> nn.Module:
    """Read a `.ravn` file as a network in eval mode.

    Args:
        path: the file.
        model: a network to fill, in place; without it the network is rebuilt from the name in the
            file.
        runtime: "float" for plain weights; "packed" to keep them in fixed-length codes, each layer's unpacked when
            it runs.
        weight_cache_bytes: in the packed runtime, float weights of so many bytes stay unpacked.

    Raises:
        ArtifactError: the file is truncated, altered, foreign or newer.
        InputError: there is no such file or runtime, or its network has no name and none was passed, or they
            don't fit.
    """
    if runtime not in RUNTIMES or weight_cache_bytes < 0:
        raise InputError(
            f"runtime={runtime!r} with a weight cache of {weight_cache_bytes} bytes is impossible; give "
            f"{' or '.join(map(repr, RUNTIMES))}, and 0 bytes or more"
        )
    artifact = read(Path(path))
    if model is None:
        if not artifact.model:
            raise InputError(f"{path} doesn't say how its network is built; pass the module: ravn.load(path, model)")
        model = rebuild_model(artifact.model, artifact.preprocessing.get("classes"))
    fill(model, artifact)
    if runtime == "packed":
        pack_network(model, fixed_rates(artifact.layers), artifact.tied, weight_cache_bytes)
    return model.eval()


def loaded_from(data: bytes, model: nn.Module) -> nn.Module:
    """A copy of a network with the weights that the bytes of a file hold."""
    network = copy.deepcopy(model).eval()
    fill(network, unpack(data))
    return network
