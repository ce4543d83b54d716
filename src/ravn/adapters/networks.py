"""A name becomes a network."""

import importlib
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ravn.adapters.cifar_bottleneck import DEPTHS, CifarBottleneckNet
from ravn.adapters.cifar_efficientnet import CifarEfficientNetB0
from ravn.adapters.cifar_mobilenet import CifarMobileNetV1, CifarMobileNetV2
from ravn.adapters.cifar_preactivated import CifarResNet200
from ravn.adapters.cifar_resnet import CifarResNet
from ravn.adapters.hf_networks import build_hf, hf_preprocessing
from ravn.adapters.imagenet_mobilenet import PREPROCESSING, FoldedMobileNetV2
from ravn.adapters.imagenet_squeezenet import SqueezeNet
from ravn.adapters.timm_networks import build_timm, timm_preprocessing
from ravn.adapters.weights import IMAGENET_CLASSES
from ravn.errors import InputError, told

FOLDED = "mobilenetv2_folded"
CIFAR_DEPTHS = (20, 32, 44, 56, 110)
MAX_CLASSES = 1 << 17
CIFAR_OTHERS: dict[str, Callable[[int], nn.Module]] = {
    **{f"resnet{depth}": partial(CifarBottleneckNet, depth) for depth in DEPTHS},
    "resnet200": CifarResNet200,
    "mobilenetv1": CifarMobileNetV1,
    "mobilenetv2": CifarMobileNetV2,
    "efficientnet_b0": CifarEfficientNetB0,
}
"""Networks of large images with a stem for small ones, by name, from the number of classes."""
IMAGENET: dict[str, Callable[[int], nn.Module]] = {FOLDED: FoldedMobileNetV2, "squeezenet1_1": SqueezeNet}
"""Networks of large images for weights of other frameworks."""
_FORMS = (
    "cifar:resnet20|32|44|56|110|50|101|152|200|mobilenetv1|mobilenetv2|efficientnet_b0,"
    " imagenet:mobilenetv2_folded|squeezenet1_1, timm:NAME, hf:NAME or python:package.module:factory"
)
_REBUILDABLE = re.compile(r"(cifar|digits|imagenet|timm):[\w.-]+")


def build_model(name: str, classes: int | None = None, *, pretrained: bool = False) -> nn.Module:
    """Build a network from its name.

    Args:
        name: "cifar:resnet20", "digits:resnet8", "timm:NAME", "hf:NAME" or "python:package.module:factory", the
            factory being called without arguments.
        classes: outputs; None for the network's own number, or 10.
        pretrained: fetch weights where the family has some to fetch.

    Raises:
        InputError: no network has this name.
        MissingPackageError: the family's package is not installed.
    """
    family, _, rest = name.partition(":")
    builders: dict[str, Callable[[], nn.Module]] = {
        "cifar": lambda: _cifar(name, rest, classes or 10),
        "imagenet": lambda: _imagenet(name, rest, classes),
        "digits": lambda: CifarResNet(_depth(name, rest, (8,)), classes or 10, channels=1),
        "timm": lambda: build_timm(rest, None if pretrained else classes, pretrained=pretrained),
        "hf": lambda: build_hf(rest),
        "python": lambda: _from_factory(name, rest),
    }
    if family not in builders or not rest:
        raise InputError(f"there is no network {name!r}; give {_FORMS}")
    return builders[family]()


def rebuild_model(name: str, classes: object) -> nn.Module:
    """Build the network that a file names; a file may only name what costs no download and runs no foreign code.

    Args:
        name: the file's name for it.
        classes: the file's number of outputs, whatever it is.

    Raises:
        InputError: the name is of another kind; the module must be passed.
    """
    if not _REBUILDABLE.fullmatch(name):
        raise InputError(
            f"the file's network {name or 'without a name'!r} can't be rebuilt from the file; pass the module"
        )
    if classes is not None and (type(classes) is not int or not 0 < classes <= MAX_CLASSES):
        raise InputError(f"the file speaks of {classes!r} classes, which is no number of outputs")
    return build_model(name, classes)


def own_preprocessing(name: str, model: nn.Module) -> dict[str, Any]:
    """Mean, standard deviation and size that a network brings with it; empty for families that bring none."""
    family, _, rest = name.partition(":")
    if family == "timm":
        return timm_preprocessing(model)
    if name == f"imagenet:{FOLDED}":
        return dict(PREPROCESSING)
    return hf_preprocessing(rest) if family == "hf" else {}


def _imagenet(name: str, rest: str, classes: int | None) -> nn.Module:
    if rest not in IMAGENET or (classes or 0) > IMAGENET_CLASSES:
        known = " and ".join(f"imagenet:{other}" for other in IMAGENET)
        raise InputError(f"there is no network {name!r} of {classes} classes; there are {known}, of 1000 at most")
    return IMAGENET[rest](classes or IMAGENET_CLASSES)


def _cifar(name: str, rest: str, classes: int) -> nn.Module:
    if rest in CIFAR_OTHERS:
        return CIFAR_OTHERS[rest](classes)
    return CifarResNet(_depth(name, rest, CIFAR_DEPTHS), classes)


def _depth(name: str, rest: str, depths: tuple[int, ...]) -> int:
    found = re.fullmatch(r"resnet(\d{1,3})", rest)
    if not found or int(found[1]) not in depths:
        family = name.partition(":")[0]
        known = ", ".join(f"{family}:resnet{depth}" for depth in depths)
        known += "".join(f", cifar:{other}" for other in CIFAR_OTHERS) if family == "cifar" else ""
        raise InputError(f"there is no network {name!r}; of this family there are {known}")
    return int(found[1])


def _from_factory(name: str, rest: str) -> nn.Module:
    module, _, factory = rest.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # the user's own code
        said = f"{type(error).__name__}: {told(error)}"
        raise InputError(f"{name!r} can't be called ({said}); give python:package.module:factory") from error
    finally:
        sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise InputError(f"{name!r} made a {type(made).__name__}, not a torch.nn.Module")
    return made
