"""Average precision by counting pairs of images, and what it must not depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ravn.metrics.precision import macro_average_precision, probabilities

quick = settings(deadline=None, derandomize=True, max_examples=60)
CLASSES = 3
images = st.lists(
    st.tuples(st.lists(st.integers(0, 4), min_size=CLASSES, max_size=CLASSES), st.integers(0, CLASSES - 1)),
    min_size=1,
    max_size=14,
)


def unzipped(rows: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([scores for scores, _ in rows]).float(), torch.tensor([label for _, label in rows])


def counted(rows: list[tuple[list[int], int]]) -> float:
    """For each image of a class, the share of that class among all images that score as high; means of means."""
    means = []
    for c in range(CLASSES):
        mine = [scores[c] for scores, label in rows if label == c]
        shares = []
        for score in mine:
            above = [label == c for scores, label in rows if scores[c] >= score]
            shares.append(sum(above) / len(above))
        if shares:
            means.append(sum(shares) / len(shares))
    return 100 * sum(means) / len(means)


@given(images)
@quick
def test_it_is_the_mean_share_of_the_class_among_images_that_score_as_high(rows: list[tuple[list[int], int]]) -> None:
    assert macro_average_precision(*unzipped(rows)) == pytest.approx(counted(rows))


@given(images, st.randoms(use_true_random=False))
@quick
def test_the_order_of_images_and_the_scale_of_scores_have_no_say(rows: list[tuple[list[int], int]], random) -> None:
    scores, labels = unzipped(rows)
    found = macro_average_precision(scores, labels)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert macro_average_precision(scores[order], labels[order]) == pytest.approx(found)
    rising = torch.tensor([0.5, 2.0, 10.0]) * scores**3 - torch.tensor([1.0, 0.0, 7.0])
    assert macro_average_precision(rising, labels) == pytest.approx(found)


@given(images, st.permutations(range(CLASSES)))
@quick
def test_the_names_of_the_classes_have_no_say(rows: list[tuple[list[int], int]], order: list[int]) -> None:
    scores, labels = unzipped(rows)
    renamed = torch.tensor([order.index(label) for label in labels.tolist()])
    found = macro_average_precision(scores[:, order], renamed)
    assert found == pytest.approx(macro_average_precision(scores, labels))


@given(images)
@quick
def test_no_scores_are_worse_than_ties_and_none_better_than_the_labels(rows: list[tuple[list[int], int]]) -> None:
    scores, labels = unzipped(rows)
    assert macro_average_precision(torch.eye(CLASSES)[labels], labels) == 100
    present = labels.bincount(minlength=CLASSES)
    ties = 100 * float((present[present > 0] / len(labels)).mean())
    assert macro_average_precision(torch.ones_like(scores), labels) == pytest.approx(ties)
    assert 0 < macro_average_precision(scores, labels) <= 100


@given(st.integers(1, 9), st.integers(1, 9))
@quick
def test_probabilities_are_softmax_outputs_in_order_however_images_are_batched(count: int, batch_size: int) -> None:
    generator = torch.Generator().manual_seed(count)
    inputs, labels = torch.randn(count, 4, generator=generator), torch.arange(count) % CLASSES
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, CLASSES)).train()
    data = TensorDataset(inputs, labels)
    found, targets = probabilities(model, data, lambda batch: 2 * batch, batch_size=batch_size)
    logits = nn.functional.linear(2 * inputs, model[1].weight, model[1].bias).detach()
    assert torch.allclose(found, logits.exp() / logits.exp().sum(1, keepdim=True), atol=1e-6)
    assert torch.equal(targets, labels)
    assert not found.requires_grad
