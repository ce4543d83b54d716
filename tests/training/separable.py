"""A tiny task that a tiny network solves: noisy copies of four patterns of 8 x 8 pixels."""

from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import TensorDataset

from ravn.codecs import Codec, EntropyCodec
from ravn.encoding import encode_network
from ravn.layers import weight_layers
from ravn.progress import Silent
from ravn.task import Task
from ravn.training.float_training import train_float

CLASSES = 4
PATTERNS = torch.randn(CLASSES, 1, 8, 8, generator=Generator().manual_seed(5))


class Tracked(Silent):
    """Hands loops to a function."""

    def __init__(self, track) -> None:
        self.track = track


def noisy_patterns(count: int, seed: int) -> TensorDataset:
    labels = torch.arange(count) % CLASSES
    noise = torch.randn(count, 1, 8, 8, generator=Generator().manual_seed(seed))
    return TensorDataset(PATTERNS[labels] + noise, labels)


def small_network(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(128, CLASSES),
        )


def jittered(batch: Tensor, generator: Generator) -> Tensor:
    return batch + 0.1 * torch.randn(batch.shape, generator=generator)


def small_task(dropout: float = 0.0) -> Task:
    network = small_network(dropout).eval()
    return Task(network, noisy_patterns(256, 0), noisy_patterns(256, 1), augment=jittered)


def trained_task(dropout: float = 0.0) -> Task:
    task = small_task(dropout)
    return replace(task, model=train_float(task, 8))


def coarse_codecs(model: nn.Module, factor: float = 2.0) -> dict[str, Codec]:
    """Steps of so many standard deviations: about one bit per weight at 2."""
    names = [layer.name for layer in weight_layers(model)]
    return {name: EntropyCodec(factor * float(model.get_parameter(name).detach().std())) for name in names}


def payload_bytes(model: nn.Module, codecs: dict[str, Codec]) -> int:
    return sum(encoded.size_bytes for encoded in encode_network(model, codecs, []).values())
