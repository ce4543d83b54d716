"""The one door to transformers: networks for image classification from the Hugging Face hub or a local folder."""

from typing import Any

from torch import Tensor, nn

from ravn.errors import InputError, MissingPackageError


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
        sentence = str(error).strip().splitlines()[0]
        raise InputError(f"hf:{name} is not a network for image classification that can be had: {sentence}") from error
    model.register_forward_hook(_logits)
    return model


def hf_preprocessing(name: str) -> dict[str, Any]:
    """Mean, standard deviation and input size that come with a network; empty where none do."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        return {}
    size: dict[str, int] = dict(processor.size)
    side = size.get("shortest_edge") or size["height"]
    return {"mean": list(processor.image_mean), "std": list(processor.image_std), "size": side}


def _logits(_: nn.Module, __: tuple[object, ...], output: Any) -> Tensor:  # noqa: ANN401 - transformers' own classes
    logits: Tensor = output.logits
    return logits
