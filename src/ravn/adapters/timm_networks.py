"""The one door to timm."""

from typing import Any

from torch import nn

from ravn.errors import InputError, MissingPackageError, told


def build_timm(name: str, classes: int | None, *, pretrained: bool) -> nn.Module:
    """A network of timm's.

    Args:
        name: what `timm.list_models` lists.
        classes: outputs; None keeps what the name says.
        pretrained: fetch its weights.

    Raises:
        MissingPackageError: timm is not installed.
        InputError: timm doesn't know the name, or can't fetch the weights.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError("timm", "timm") from error
    except RuntimeError as error:
        raise InputError(
            f"timm can't be imported ({told(error)}); install a torchvision that fits this torch"
        ) from error
    if not timm.is_model(name):
        raise InputError(f"timm has no network {name!r}; `timm.list_models()` lists those that it has")
    extra: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **extra)
    except (OSError, RuntimeError) as error:
        raise InputError(f"the weights of timm:{name} can't be fetched ({told(error)}); give --weights FILE") from error
    return model


def timm_preprocessing(model: nn.Module) -> dict[str, Any]:
    """Mean, standard deviation and input size that a network of timm's was trained with."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(model)
    return {"mean": list(config["mean"]), "std": list(config["std"]), "size": int(config["input_size"][-1])}
