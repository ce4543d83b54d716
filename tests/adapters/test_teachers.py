"""Several teachers are imitated as one: by the mean of their class probabilities."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ravn.adapters import Teachers, make_task, named_teachers
from ravn.errors import InputError


@given(st.integers(1, 5), st.integers(0, 1000))
@settings(deadline=None, derandomize=True)
def test_together_they_give_the_mean_of_their_probabilities(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    networks = [nn.Linear(6, 4) for _ in range(count)]
    inputs = 20 * torch.randn(3, 6)
    expected = torch.stack([network(inputs).softmax(1) for network in networks]).mean(0)
    torch.testing.assert_close(Teachers(networks)(inputs).softmax(1), expected)


def test_sure_teachers_that_disagree_stay_finite() -> None:
    def sure(klass: int) -> nn.Linear:
        network = nn.Linear(2, 3)
        with torch.no_grad():
            network.weight.zero_()
            network.bias.copy_(1e4 * torch.eye(3)[klass])
        return network

    logits = Teachers([sure(0), sure(2)])(torch.zeros(1, 2))
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[0.5, 0.0, 0.5]]))


def test_names_and_files() -> None:
    assert named_teachers(None) == []
    assert named_teachers("a:b=c.pt,timm:d,a:b=e") == [("a:b", Path("c.pt")), ("timm:d", None), ("a:b", Path("e"))]


@pytest.mark.parametrize("teacher", ["", ",", "a=b,", "=b"])
def test_a_missing_name_is_refused(teacher: str) -> None:
    with pytest.raises(InputError, match=r"names no teacher; give NAME\[=FILE\]"):
        named_teachers(teacher)


def test_a_task_has_them_as_one(weights: Path) -> None:
    one = f"digits:resnet8={weights}"
    alone, both = (make_task("digits:resnet8", "digits", weights=weights, teacher=t) for t in (one, f"{one},{one}"))
    assert alone.teacher is not None
    assert both.teacher is not None
    assert (alone.teacher_name, both.teacher_name) == ("digits:resnet8", "digits:resnet8, digits:resnet8")
    inputs = both.transform(both.validation.tensors[0][:8])
    with torch.no_grad():
        torch.testing.assert_close(both.teacher(inputs).softmax(1), alone.teacher(inputs).softmax(1))
