"""Names become the question: a network with its weights, and its images."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ravn.adapters.data import ImageData, Opened, load_unlabeled, open_data
from ravn.adapters.networks import build_model, own_preprocessing
from ravn.adapters.weights import fill_weights, load_weights, of_classes
from ravn.batches import fetch
from ravn.errors import InputError, told
from ravn.task import Task


def make_task(
    model: str,
    data: str,
    *,
    weights: Path | None = None,
    normalize: str | None = None,
    seed: int = 0,
    pretrained: bool = True,
    teacher: str | None = None,
    unlabeled: str | None = None,
) -> Task:
    """Build a network, fill in its weights, and find its images.

    Args:
        model: name of the network; see `build_model`.
        data: name of the data; see `open_data`.
        weights: file of float weights; without one the network's own pretrained weights are used, where it has some.
            Where the data has some of ImageNet's classes, a classifier of all of them is cut to those.
        normalize: how images become inputs; see `load_data`.
        seed: of the initial weights, where nothing fills them.
        pretrained: False leaves the initial weights where no file is given, for training.
        teacher: network that training imitates: NAME=FILE, or NAME where it brings weights; it sees the same inputs.
            Of several, with commas between them, the mean of the class probabilities is imitated.
        unlabeled: name of data whose images training learns outputs on as well; see `load_unlabeled`.

    Raises:
        InputError: a name is unknown, weights don't fit the network, or its outputs don't match the classes.
        MissingPackageError: an optional package is not installed.
    """
    opened = open_data(data)
    torch.manual_seed(seed)
    network = _network(model, weights, opened, pretrained=pretrained)
    teachers = [(name, _network(name, file, opened, pretrained=True)) for name, file in named_teachers(teacher)]
    images = opened.prepare(normalize, own_preprocessing(model, network))
    for name, asked in [(model, network), *teachers]:
        check_fit(asked, images, name, data)
    return Task(
        model=network,
        train=images.train,
        validation=images.validation,
        test=images.test,
        transform=images.transform,
        augment=images.augment,
        model_name=model,
        data_name=_short(data),
        preprocessing=images.preprocessing,
        classes=images.classes,
        teacher=_together([asked for _, asked in teachers]),
        teacher_name=", ".join(name for name, _ in teachers),
        unlabeled=None if unlabeled is None else load_unlabeled(unlabeled, images),
        unlabeled_name=_short(unlabeled or ""),
    )


def named_teachers(teacher: str | None) -> list[tuple[str, Path | None]]:
    """Names and files of the teachers in NAME[=FILE][,...].

    Raises:
        InputError: a name is missing.
    """
    if teacher is None:
        return []
    found = [part.partition("=") for part in teacher.split(",")]
    if not all(name for name, _, _ in found):
        raise InputError(f"{teacher!r} names no teacher; give NAME[=FILE], or several, as in A=FILE,B=FILE")
    return [(name, Path(file) if file else None) for name, _, file in found]


class Teachers(nn.Module):
    """Several networks as one: the logarithm of the mean of their class probabilities (arXiv 1503.02531).

    Args:
        networks: of the same inputs and classes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of shape (batch, classes), float32; the inputs are what every network takes."""
        logs = torch.stack([network(inputs).float().log_softmax(1) for network in self.networks])
        return logs.logsumexp(0) - math.log(len(self.networks))


def _together(teachers: Sequence[nn.Module]) -> nn.Module | None:
    if len(teachers) > 1:
        return Teachers(teachers).eval()
    return teachers[0] if teachers else None


def _short(data: str) -> str:
    """Name of data without the folder of a known data set."""
    return data if data.startswith(("hf:", "imagefolder:")) else data.partition(":")[0]


def _network(model: str, weights: Path | None, opened: Opened, *, pretrained: bool) -> nn.Module:
    """A network with its weights, in eval mode."""
    read = None if weights is None else load_weights(weights)
    fetched = pretrained and read is None
    network = build_model(model, len(opened.classes), pretrained=fetched and not opened.places)
    if fetched and opened.places and model.startswith("timm:"):
        read = build_model(model, pretrained=True).state_dict()
    if read is not None:
        source = model if weights is None else str(weights)
        read = of_classes(read, network, opened.places, source) if opened.places else read
        fill_weights(network, read, source)
    return network.eval()


def check_fit(network: nn.Module, images: ImageData, model: str, data: str) -> None:
    """Run a network on one image.

    Args:
        network: in eval mode, on the CPU.
        images: images and their classes.
        model: what the user calls the network.
        data: what the user calls the data.

    Raises:
        InputError: it doesn't take the images, or its outputs are not one logit per class.
    """
    stored, _ = fetch(images.test, [0])
    try:
        with torch.no_grad():
            logits = network(images.transform(stored))
    except Exception as error:  # networks refuse images in many ways
        shape = "x".join(map(str, stored.shape[1:]))
        raise InputError(f"{model} can't take the {shape} images of {data}: {told(error)}") from error
    if not isinstance(logits, Tensor):
        raise InputError(f"{model} gives a {type(logits).__name__}; it must give logits of shape (batch, classes)")
    if logits.dim() != 2 or logits.shape[1] != len(images.classes):
        raise InputError(
            f"{model} gives outputs of shape {tuple(logits.shape[1:])} and {data} has {len(images.classes)} classes;"
            " they must match"
        )
