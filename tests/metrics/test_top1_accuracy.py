"""Accuracy is a count, on the network as it runs in use."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ravn.metrics import top1_accuracy


class Logits(nn.Module):
    """Gives its inputs back."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.dropout(x)


@given(st.lists(st.tuples(st.permutations(range(4)), st.integers(0, 3)), max_size=20), st.integers(1, 7))
@settings(deadline=None, derandomize=True)
def test_accuracy_is_the_share_of_right_answers(rows: list[tuple[list[int], int]], batch_size: int) -> None:
    stored = torch.tensor([logits for logits, _ in rows], dtype=torch.uint8).reshape(-1, 4)
    data = TensorDataset(stored, torch.tensor([label for _, label in rows], dtype=torch.long))
    right = sum(logits.index(3) == label for logits, label in rows)
    found = top1_accuracy(Logits().train(), data, lambda batch: batch.float() - 8, batch_size=batch_size)
    assert found == pytest.approx(100 * right / len(rows) if rows else 0)


def test_progress_wraps_the_batches_and_nothing_is_left_behind() -> None:
    model, seen = Logits(), []

    def progress(batches):
        for stored, labels in batches:
            seen.append(len(labels))
            yield stored, labels

    data = TensorDataset(torch.eye(7), torch.arange(7))
    assert top1_accuracy(model, data, lambda batch: batch, batch_size=3, progress=progress) == 100
    assert seen == [3, 3, 1]
    assert model.scale.grad is None
    assert not model.training
