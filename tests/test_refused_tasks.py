"""Networks and images that can't be compressed are refused before the search pays for anything."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ravn
from ravn.allocators.problem import Allocation, Problem


class Untouched:
    """An allocator that must not be asked."""

    name = "untouched"

    def allocate(self, problem: Problem) -> Allocation:
        pytest.fail("the search began")


class Picky(nn.Module):
    """A network whose outputs are infinite for pictures brighter than 100, blended ones among them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) / (x.amax((1, 2, 3)) <= 100)[:, None]


def task(model: nn.Module, train: Tensor, **changes: object) -> ravn.Task:
    images = TensorDataset(train, torch.zeros(len(train), dtype=torch.int64))
    validation = TensorDataset(torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64))
    return ravn.Task(model, train=images, validation=validation, **changes)


def compress(question: ravn.Task) -> None:
    ravn.compress(question, ravn.Budget(bits_per_weight=100.0), Untouched())


def pictures(count: int = 1500) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_one_picture_of_many_on_which_the_outputs_are_infinite_is_enough() -> None:
    train = pictures()
    train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[900]] = 255.0
    with pytest.raises(ravn.InputError, match="the network's outputs hold NaN or infinity; only"):
        compress(task(Picky(), train))


def test_pictures_that_are_not_finite_are_refused() -> None:
    train = pictures()
    train[:, 0, 0, 0] = float("nan")
    with pytest.raises(ravn.InputError, match="inputs hold NaN or infinity"):
        compress(task(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), train))


def test_a_task_without_training_images_is_refused() -> None:
    with pytest.raises(ravn.InputError, match="there are no training images to draw from"):
        compress(task(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), pictures(0)))


@pytest.mark.parametrize("model", [nn.ReLU(), nn.BatchNorm2d(1), nn.Sequential()])
def test_a_network_without_weights_is_refused(model: nn.Module) -> None:
    with pytest.raises(ravn.InputError, match="has no parameter of two or more dimensions"):
        compress(task(model, pictures()))
