"""Macro average precision is that of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from ravn.metrics.precision import macro_average_precision


@pytest.mark.parametrize("levels", [None, 4])
def test_it_is_that_of_scikit_learn_ties_included(levels: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 5
    scores = (torch.rand(300, 5, generator=generator) + 0.3 * torch.eye(5)[labels]).softmax(1)
    if levels:
        scores = (scores * levels * 5).round() / (levels * 5)
    expected = np.mean([average_precision_score(labels == c, scores[:, c]) for c in range(5)])
    assert macro_average_precision(scores, labels) == pytest.approx(100 * expected)


def test_perfect_scores_have_all_and_absent_classes_do_not_count() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    assert macro_average_precision(torch.eye(3)[labels], labels) == 100.0
