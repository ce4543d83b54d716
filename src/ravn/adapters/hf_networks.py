"""The one door to transformers: networks for image classification from the Hugging Face hub or a local folder."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ravn.errors import InputError, MissingPackageError, told


def build_hf(name: str) -> nn.Module:
    """A network for image classification that returns its logits.

    Args:
        name: name on the hub, or a folder that `save_pretrained` wrote.

    Raises:
        MissingPackageError: transformers is not installed.
        InputError: there is no such network, or it can't be fetched.
    """
    try:
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise MissingPackageError("transformers", "hf") from error
    try:
        model: nn.Module = AutoModelForImageClassification.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"hf:{name} is not a network for image classification that can be had: {told(error)}"
        ) from error
    model.register_forward_hook(_logits)
    return model


def hf_preprocessing(name: str) -> dict[str, Any]:
    """Mean, standard deviation and input size that come with a network; empty where none do."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        return {}
    brought = {key: getattr(processor, f"image_{key}", None) for key in ("mean", "std")}
    size = getattr(processor, "size", None)
    side = (size.get("shortest_edge") or size.get("height")) if isinstance(size, Mapping) else size
    return {key: list(value) for key, value in brought.items() if value} | {"size": side}


def _logits(_: nn.Module, __: tuple[object, ...], output: Any) -> Tensor:  # noqa: ANN401 - transformers' own classes
    logits: Tensor = output.logits
    return logits
