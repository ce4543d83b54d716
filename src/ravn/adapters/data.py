"""A name becomes images: train, validation and test, and how they become network inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, TensorDataset

from ravn.adapters import imagenet100
from ravn.adapters.augmentation import crop_and_flip, shift
from ravn.adapters.digits import read_digits
from ravn.adapters.folders import pictures_below, read_folders
from ravn.adapters.hub import read_hub
from ravn.adapters.normalization import KNOWN, Normalization, normalization_of, parse_normalization
from ravn.adapters.parquet import read_parquet
from ravn.adapters.pictures import SMALL, decoded_dataset, shorter_side
from ravn.adapters.splits import Collection, collect
from ravn.batches import fetch
from ravn.errors import InputError

FORMS = "digits, cifar10[:DIR], cifar100[:DIR], imagenet100:DIR, imagefolder:DIR or hf:NAME"
LARGE = 224
"""Side of the network input for large pictures, where nobody asks for another."""
_DIGITS_SPLIT = (900, 197, 700)
_HUB_NAMES = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}

Augment = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True)
class ImageData:
    """Images of three disjoint splits, stored as uint8, and how they become network inputs.

    Args:
        train: for calibration, search and training.
        validation: for choices.
        test: for the final report.
        classes: names of the classes.
        transform: stored batch -> network inputs.
        augment: random change of a stored training batch.
        preprocessing: JSON-able description of the transform.
    """

    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    classes: tuple[str, ...]
    transform: Normalization
    augment: Augment
    preprocessing: dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """Data that has been found but not decoded yet: a network may still say which size it wants.

    Args:
        classes: names of the classes.
        prepare: `prepare(normalize, preprocessing)` gives the images; `normalize` is the user's word or None,
            `preprocessing` what the network or the file brings.
        places: of the classes among the 1,000 of ImageNet, where they are some of those.
    """

    classes: tuple[str, ...]
    prepare: Callable[[str | None, Mapping[str, Any]], ImageData]
    places: tuple[int, ...] = ()


def open_data(name: str) -> Opened:
    """Find data by name.

    Args:
        name: "digits", "cifar10[:DIR]", "cifar100[:DIR]", "imagenet100:DIR" (ImageNet's folders of classes),
            "imagefolder:DIR", "hf:NAME", "hf:DIR".

    Raises:
        InputError: there is no such data, or it is empty or unlabelled.
        MissingPackageError: a package that reads it is not installed.
    """
    family, _, place = name.partition(":")
    if family == "digits" and not place:
        return Opened(tuple(map(str, range(10))), _prepare_digits)
    if family in _HUB_NAMES:
        read = read_parquet(_folder(name, place), name) if place else read_hub(_HUB_NAMES[family], name)
    elif family == "imagenet100" and place:
        read = read_folders(_folder(name, place), name, imagenet100.classes())
    elif family == "imagefolder" and place:
        read = read_folders(_folder(name, place), name)
    elif family == "hf" and place:
        folder = Path(place if Path(place).is_dir() else place.partition(":")[2])
        read = read_parquet(folder, name) if folder.is_dir() and folder != Path() else read_hub(place, name)
    else:
        raise InputError(f"there is no data {name!r}; give {FORMS}")
    collection = collect(*read, name)
    known = family if family in KNOWN else "imagenet"
    places = tuple(imagenet100.classes().values()) if family == "imagenet100" else ()
    return Opened(collection.classes, lambda wanted, brought: _prepare(collection, known, wanted, brought), places)


def load_data(name: str, *, normalize: str | None = None, preprocessing: Mapping[str, Any] | None = None) -> ImageData:
    """Find and prepare data.

    Args:
        name: as for `open_data`.
        normalize: "imagenet", "cifar10", "cifar100" or "MEANS/STDS"; None takes what `preprocessing` says, or what is
            customary for the data.
        preprocessing: "mean", "std" and "size" that a network or a file brings.

    Raises:
        InputError: there is no such data, it is empty or unlabelled, or `normalize` is not understood.
    """
    return open_data(name).prepare(normalize, preprocessing or {})


def load_unlabeled(name: str, beside: ImageData) -> Dataset[Any]:
    """Find images whose labels don't matter, to be stored as other ones are.

    Args:
        name: as for `open_data`, of which the training images are taken; "imagefolder:DIR" needs no folders of classes:
            all pictures below it are taken.
        beside: the images that they are to be seen beside.

    Raises:
        InputError: there is no such data, it is empty, or its images have another shape.
        MissingPackageError: a package that reads it is not installed.
    """
    (family, _, place), side = name.partition(":"), beside.preprocessing["size"]
    try:
        if family == "imagefolder" and place:
            images = decoded_dataset(pictures_below(_folder(name, place), name), side)
        else:
            images = open_data(name).prepare(None, {"size": side}).train
    except InputError as error:
        raise InputError(str(error).replace("--data", "--unlabeled", 1)) from error
    theirs, ours = (tuple(fetch(dataset, [0])[0].shape[1:]) for dataset in (images, beside.train))
    if theirs != ours:
        raise InputError(f"--unlabeled {name} has images of shape {theirs}; those of the data have {ours}")
    return images


def _folder(name: str, place: str) -> Path:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise InputError(f"--data {name}: there is no folder {str(folder)!r}")
    return folder


def _chosen(normalize: str | None, brought: Mapping[str, Any], default: Normalization) -> Normalization:
    if normalize is not None:
        return parse_normalization(normalize)
    return normalization_of(brought) or default


def _described(transform: Normalization, size: int, classes: int) -> dict[str, Any]:
    return {"mean": list(transform.mean), "std": list(transform.std), "size": size, "classes": classes}


def _prepare(collection: Collection, known: str, normalize: str | None, brought: Mapping[str, Any]) -> ImageData:
    size = brought.get("size")
    if type(size) is not int or not 0 < size <= 1 << 12:
        found = shorter_side(collection.test.encoded[0])
        size = found if found <= SMALL else LARGE
    transform = _chosen(normalize, brought, Normalization(*KNOWN[known]))
    if len(transform.mean) != len(KNOWN[known][0]):
        raise InputError(f"a normalization of {len(transform.mean)} channels doesn't fit pictures of 3")
    return ImageData(
        train=decoded_dataset(collection.train, size),
        validation=decoded_dataset(collection.validation, size),
        test=decoded_dataset(collection.test, size),
        classes=collection.classes,
        transform=transform,
        augment=crop_and_flip,
        preprocessing=_described(transform, size, len(collection.classes)),
    )


def _prepare_digits(normalize: str | None, brought: Mapping[str, Any]) -> ImageData:
    images, labels = read_digits()
    transform = _chosen(normalize, brought, Normalization((0.5,), (0.5,)))
    if len(transform.mean) != 1:
        raise InputError(f"a normalization of {len(transform.mean)} channels doesn't fit digits, which have 1")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(_DIGITS_SPLIT)
    train, validation, test = (TensorDataset(images[rows], labels[rows]) for rows in order)
    classes = tuple(map(str, range(10)))
    return ImageData(train, validation, test, classes, transform, shift, _described(transform, images.shape[-1], 10))
