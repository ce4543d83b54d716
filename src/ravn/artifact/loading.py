"""Fill a network that the caller built with the weights of an artifact."""

import torch
from torch import Tensor, nn

from ravn.artifact.spec import Artifact
from ravn.errors import InputError


def fill(model: nn.Module, artifact: Artifact) -> None:
    """Copy every tensor of the artifact into the module, which keeps its dtypes and devices.

    Raises:
        InputError: names or shapes differ; the first is named, and nothing has been copied.
        ArtifactError: a payload is broken.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = artifact.shapes()
    for name, tensor in own.items():
        if name not in shapes:
            raise InputError(f"the network has {name!r}, which {artifact.source} doesn't hold")
        if tuple(tensor.shape) != shapes[name]:
            raise InputError(
                f"{name!r} has shape {tuple(tensor.shape)} in the network, and {shapes[name]} in {artifact.source}"
            )
    for name in shapes:
        if name not in own:
            raise InputError(f"{artifact.source} holds {name!r}, which the network doesn't have")
    state = artifact.state_dict()
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
