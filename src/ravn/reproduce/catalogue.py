"""The paper's networks and data sets, by the short names of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ravn.errors import InputError

DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "imagenet100": "ImageNet-100",
    "digits": "digits",
}
LARGE = ("imagenet", "imagenet100")
"""Data sets of large images; the second is a hundred classes of the first, and lies in the same folder or its own."""


@dataclass(frozen=True)
class Network:
    """One network of the tables.

    Args:
        title: how the paper calls it.
        small: name of its form for small images.
        large: name of its form for large images; "" where there is none.
        note: what a reader must know of the large form.
        local: another large form, which is taken where its weights lie among the checkpoints.
    """

    title: str
    small: str
    large: str = ""
    note: str = ""
    local: str = ""


NETWORKS: Mapping[str, Network] = {
    "resnet20": Network(
        "ResNet-20",
        "cifar:resnet20",
        "timm:resnet18",
        "ResNet-20 is a network for small images; on ImageNet ResNet-18 stands in",
    ),
    "resnet50": Network("ResNet-50", "cifar:resnet50", "timm:resnet50"),
    "resnet152": Network("ResNet-152", "cifar:resnet152", "timm:resnet152"),
    "efficientnet": Network("EfficientNet", "cifar:efficientnet_b0", "timm:efficientnet_b0", "EfficientNet-B0"),
    "mobilenet": Network(
        "MobileNet", "cifar:mobilenetv2", "timm:mobilenetv2_100", "MobileNetV2", "imagenet:mobilenetv2_folded"
    ),
    "mobilenetv1": Network("MobileNet V1", "cifar:mobilenetv1", "timm:mobilenetv1_100"),
    "resnet200": Network("ResNet-200", "cifar:resnet200", "timm:resnet200d", "ResNet-200-D"),
    "squeezenet": Network("SqueezeNet 1.1", "", "imagenet:squeezenet1_1", "not in the paper"),
    "resnet8": Network("ResNet-8", "digits:resnet8"),
}
"""In the order of the paper's tables; the last two are not in it, and it doesn't say which MobileNet it took."""

NORMALIZATIONS = {("cifar10", "resnet20"): "imagenet"}
"""Where the public checkpoint was trained with another than the data set's own."""


@dataclass(frozen=True)
class Sources:
    """Where float weights and images lie.

    Args:
        checkpoints: folder of DATASET_NETWORK.safetensors.
        data: folder of folders cifar10, cifar100, imagenet and imagenet100; where one of the CIFAR sets is missing, or
            no folder is given, the public set is fetched.
    """

    checkpoints: Path
    data: Path | None = None

    def model(self, network: str, dataset: str) -> str:
        """Name of a network for a data set, as `--model` takes it.

        Raises:
            InputError: there is no such network or data set, or the network has no such form.
        """
        if network not in NETWORKS:
            raise InputError(f"there is no network {network!r} in the tables; there are {', '.join(NETWORKS)}")
        if dataset not in DATASETS:
            raise InputError(f"there is no data set {dataset!r} in the tables; there are {', '.join(DATASETS)}")
        known = NETWORKS[network]
        found = known.large if dataset in LARGE else known.small
        if dataset == "imagenet" and known.local and self._file(network, dataset).is_file():
            found = known.local
        if not found or (dataset == "digits") != found.startswith("digits:"):
            raise InputError(f"{network} has no form for {dataset}")
        return found

    def images(self, dataset: str) -> str:
        """Name of a data set, as `--data` takes it.

        Raises:
            InputError: it can't be fetched, and there is no folder of it.
        """
        if dataset == "digits":
            return dataset
        names = LARGE[::-1] if dataset == "imagenet100" else (dataset,)
        folder = next((self.data / name for name in names if (self.data / name).is_dir()), None) if self.data else None
        if folder is None and dataset in LARGE:
            raise InputError(
                f"there is no folder of {DATASETS[dataset]}; give --data-root DIR with DIR/{' or DIR/'.join(names)}"
            )
        if folder is None:
            return dataset
        if dataset != "imagenet":
            return f"{dataset}:{folder}"
        return f"hf:{folder}" if any(folder.rglob("*.parquet")) else f"imagefolder:{folder}"

    def weights(self, network: str, dataset: str) -> Path | None:
        """File of the float weights; None where timm has some of its own.

        Raises:
            InputError: there is none; the sentence says how it is made.
        """
        file = self._file(network, dataset)
        if file.is_file():
            return file
        model = self.model(network, dataset)
        if model.startswith("timm:"):
            return None
        raise InputError(
            f"--checkpoints has no float weights {file.name}; make them with:"
            f" ravn train --model {model} --data {dataset}:DIR{normalization_words(network, dataset)} --out {file.name}"
        )

    def _file(self, network: str, dataset: str) -> Path:
        return self.checkpoints / f"{dataset}_{network}.safetensors"


def normalization_words(network: str, dataset: str) -> str:
    """The option `--normalize` that a network is trained and measured with, or nothing."""
    known = NORMALIZATIONS.get((dataset, network))
    return f" --normalize {known}" if known else ""
