"""Float weights from a file, checked name by name against the network."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ravn.errors import InputError

NESTS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts customarily nest a state dict."""
_PARALLEL = "module."
_COUNTER = "num_batches_tracked"
_NAMED = 3
IMAGENET_CLASSES = 1000


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a checkpoint of plain tensors; nothing in it is executed.

    A nested state dict and the prefix "module." of data-parallel training are understood.

    Raises:
        InputError: there is no such file, or it holds no state dict.
    """
    if not path.is_file():
        raise InputError(f"there is no weights file {str(path)!r}; give a .safetensors, .pt or .pth file")
    try:
        read: Any = load_file(path) if path.suffix == ".safetensors" else _checkpoint(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file ({error})") from error
    for key in NESTS:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    found = read.items() if isinstance(read, Mapping) else ()
    tensors = {name: value for name, value in found if isinstance(name, str) and _is_plain(value)}
    if not tensors:
        raise InputError(f"{path} holds no state dict of tensors")
    if all(name.startswith(_PARALLEL) for name in tensors):
        return {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta and not value.is_quantized


def _checkpoint(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file makes the unpickler raise whatever it likes
        raise InputError(
            f"{path} is not a checkpoint of plain tensors, and nothing else is opened for safety;"
            " save it with torch.save(model.state_dict(), ...)"
        ) from error


def fill_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into a network; counters of batch norms may be missing.

    Raises:
        InputError: names or shapes differ; the first few are named, and nothing has been copied.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith(_COUNTER)]
    surplus = [name for name in weights if name not in own]
    if missing or surplus:
        found = [f"{title} {', '.join(n[:_NAMED])}" for title, n in (("lacks", missing), ("adds", surplus)) if n]
        raise InputError(f"{source} doesn't fit the network: it {' and '.join(found)}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{source} doesn't fit the network: {name} has shape {tuple(tensor.shape)} there"
                f" and {tuple(own[name].shape)} in the network"
            )
        if own[name].is_floating_point() and not tensor.is_floating_point():
            raise InputError(
                f"{source} doesn't fit the network: {name} is of {tensor.dtype} there; float weights are needed"
            )
    model.load_state_dict(dict(weights), strict=False)


def of_classes(
    weights: Mapping[str, Tensor], model: nn.Module, places: Sequence[int], source: str
) -> dict[str, Tensor]:
    """Of weights for all classes of ImageNet, those for some.

    Args:
        weights: state dict of a network of 1,000 classes, or of so many as there are places.
        model: the same network with an output for each place.
        places: of its classes among the 1,000.
        source: where the weights come from.

    Raises:
        InputError: the network has no classifier of either number of classes.
    """
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    rows = {name: (len(tensor), own[name][0]) for name, tensor in weights.items() if tensor.dim() and own.get(name)}
    if not {(IMAGENET_CLASSES, len(places)), (len(places), len(places))} & set(rows.values()):
        raise InputError(
            f"{source} has no classifier of {IMAGENET_CLASSES:,} or {len(places)} classes; take another network"
        )
    cut = [name for name, found in rows.items() if found == (IMAGENET_CLASSES, len(places))]
    return {**weights, **{name: weights[name][list(places)] for name in cut}}


def weights_bytes(model: nn.Module) -> bytes:
    """The network's state dict as the bytes of a safetensors file that `load_weights` reads."""
    # Copied: the format refuses names that share a tensor, as tied weights do.
    state = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in model.state_dict().items()}
    return bytes(save(state))
