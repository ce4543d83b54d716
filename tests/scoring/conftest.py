"""A tiny convolutional network whose layers differ in scale, and images for it."""

import pytest
import torch
from torch import Tensor, nn

from ravn.layers import weight_layers
from ravn.plan import Layer


def _network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 5),
        )
        network.train()
        network(torch.randn(64, 1, 8, 8))
        with torch.no_grad():
            network[6].weight.mul_(0.3)
    return network.eval().requires_grad_(requires_grad=False)


def _images(count: int, seed: int) -> list[Tensor]:
    return [torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed + i)) for i in range(2)]


@pytest.fixture
def network() -> nn.Module:
    """conv 6, batch norm, conv 8, linear 5; its last layer is quieter than the others."""
    return _network()


@pytest.fixture
def layers(network: nn.Module) -> list[Layer]:
    """Two convolutions and a linear layer."""
    return weight_layers(network)


@pytest.fixture(scope="session")
def images() -> list[Tensor]:
    """Two batches for the search."""
    return _images(16, 10)


@pytest.fixture(scope="session")
def other_images() -> list[Tensor]:
    """Two batches for the holdout."""
    return _images(12, 20)
