"""Float networks without a checkpoint are trained to use, and the same way for the same seed."""

import pytest
import torch
from separable import small_task
from torch import nn

from ravn.metrics import top1_accuracy
from ravn.training.float_training import train_float


def trained(seed: int) -> nn.Module:
    return train_float(small_task(dropout=0.2), 2, seed=seed)


def test_separable_classes_are_told_apart() -> None:
    task = small_task()
    before = top1_accuracy(task.model, task.validation, task.transform)
    model = train_float(task, 8)
    after = top1_accuracy(model, task.validation, task.transform)
    assert before < 60
    assert after > 95
    assert model is task.model
    assert not any(module.training for module in model.modules())


def test_the_seed_decides_everything() -> None:
    first, other = trained(0).state_dict(), trained(1).state_dict()
    torch.rand(7)
    again = trained(0).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_the_callers_random_numbers_go_on_undisturbed() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    trained(0)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("epochs", [0, 2])
def test_progress_wraps_the_epochs(epochs: int) -> None:
    seen: list[tuple[list[int], int]] = []

    def progress(items, title, total):
        seen.append((list(items), total))
        return seen[-1][0]

    train_float(small_task(), epochs, progress=progress)
    assert seen == [(list(range(epochs)), epochs)]
