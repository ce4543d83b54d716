"""Artifacts that several tests share."""

import pytest
import torch

from ravn.artifact import Artifact
from ravn.codecs import Codec, Encoded, EntropyCodec


@pytest.fixture(scope="session")
def sample() -> Artifact:
    """One of everything: layers, constants, floats, integers, a tied name."""
    generator = torch.Generator().manual_seed(0)
    codec, other = EntropyCodec(0.5), EntropyCodec(0.25)
    weights = {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "head.weight": torch.randn(5, 4, generator=generator),
    }
    return Artifact(
        model="cifar:resnet20",
        preprocessing={"mean": [0.5, 0.25], "classes": ["cat", "dög"]},
        layers={
            "conv.weight": codec.encode(weights["conv.weight"]),
            "head.weight": other.encode(weights["head.weight"]),
        },
        codecs={"conv.weight": codec, "head.weight": other},
        tensors={
            "bn.weight": torch.randn(4, generator=generator),
            "bn.running_mean": torch.zeros(4),
            "bn.running_var": torch.full((4,), 0.99999),
            "bn.num_batches_tracked": torch.tensor(17),
            "head.bias": torch.randn(5, generator=generator),
            "index": torch.arange(6).reshape(2, 3),
            "mask": torch.tensor([True, False, True]),
        },
        tied={"tail.weight": "head.weight"},
        allocator="ppo",
    )


@pytest.fixture(scope="session")
def resnet20() -> Artifact:
    """The shape of a CIFAR ResNet-20: 20 layers, 19 canonical batch norms, one bias."""
    generator = torch.Generator().manual_seed(0)
    widths = [16] * 7 + [32] * 6 + [64] * 6
    stems = [("conv1", "bn1")] + [
        (f"layer{stage}.{block}.conv{half}", f"layer{stage}.{block}.bn{half}")
        for stage in (1, 2, 3)
        for block in (0, 1, 2)
        for half in (1, 2)
    ]
    layers: dict[str, Encoded] = {}
    codecs: dict[str, Codec] = {}
    tensors: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        weight = torch.randn(shape, generator=generator) * 0.1
        codecs[name] = EntropyCodec(0.1 + 0.1 * float(torch.rand((), generator=generator)))
        layers[name] = codecs[name].encode(weight)

    before = 3
    for (conv, norm), width in zip(stems, widths, strict=True):
        add(f"{conv}.weight", width, before, 3, 3)
        tensors[f"{norm}.weight"] = 0.5 + torch.rand(width, generator=generator)
        tensors[f"{norm}.bias"] = torch.randn(width, generator=generator)
        tensors[f"{norm}.running_mean"] = torch.zeros(width)
        tensors[f"{norm}.running_var"] = torch.full((width,), 1 - 1e-5)
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(78_200)
        before = width
    add("linear.weight", 10, 64)
    tensors["linear.bias"] = torch.randn(10, generator=generator)
    preprocessing = {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "size": [32, 32],
        "classes": [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ],
    }
    return Artifact("cifar:resnet20", preprocessing, layers, codecs, tensors, {}, "ppo")
