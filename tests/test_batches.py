"""Batches cover the data, follow the seed, and never let labels decide."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ravn.batches import calibration_inputs, drawn, fetch, in_order, shuffled, size
from ravn.task import Task

CPU = torch.device("cpu")
quick = settings(deadline=None, derandomize=True, max_examples=60)


class Items(Dataset):
    """A map-style data set that gives (tensor, int)."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index)]), index % 3


def numbered(count: int) -> TensorDataset:
    return TensorDataset(torch.arange(float(count))[:, None], torch.arange(count) % 3)


def numbers(batches: list[Tensor]) -> list[float]:
    return torch.cat(batches).flatten().tolist() if batches else []


def task(count: int) -> Task:
    return Task(nn.Identity(), numbered(count), numbered(1))


@given(st.integers(0, 40), st.integers(1, 12))
@quick
def test_in_order_gives_everything_in_order(count: int, batch_size: int) -> None:
    batches = list(in_order(numbered(count), batch_size))
    assert numbers([inputs for inputs, _ in batches]) == list(range(count))
    assert [label for _, labels in batches for label in labels.tolist()] == [i % 3 for i in range(count)]
    assert all(len(inputs) == batch_size for inputs, _ in batches[:-1])


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 1000))
@quick
def test_shuffled_gives_everything_once_but_a_small_rest(count: int, batch_size: int, seed: int) -> None:
    batches = list(shuffled(numbered(count), batch_size, torch.Generator().manual_seed(seed)))
    seen = Counter(numbers([inputs for inputs, _ in batches]))
    assert set(seen.values()) <= {1}
    rest = count % batch_size
    assert count - len(seen) == (rest if 2 * rest < batch_size and count >= batch_size else 0)
    for inputs, labels in batches:
        assert labels.tolist() == [i % 3 for i in inputs.flatten().tolist()]


def test_the_generator_decides_the_order() -> None:
    orders = [numbers([x for x, _ in shuffled(numbered(50), 8, torch.Generator().manual_seed(s))]) for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_any_map_style_data_set_gives_the_same_batches_as_tensors() -> None:
    assert size(Items(7)) == size(numbered(7)) == 7
    for ours, theirs in zip(fetch(Items(7), [4, 0, 6]), fetch(numbered(7), [4, 0, 6]), strict=True):
        assert torch.equal(ours, theirs)


@given(st.integers(1, 40), st.lists(st.integers(1, 15), min_size=1, max_size=4), st.integers(0, 1000))
@quick
def test_calibration_sets_are_disjoint_as_long_as_images_last(count: int, sizes: list[int], seed: int) -> None:
    drawn, skip = [], 0
    for wanted in sizes:
        batches = calibration_inputs(task(count), wanted, seed=seed, skip=skip, batch_size=4, device=CPU)
        assert all(0 < len(batch) <= 4 for batch in batches)
        drawn.append(numbers(batches))
        assert len(drawn[-1]) == max(min(wanted, count - skip), 0)
        skip += wanted
    together = [number for numbers_ in drawn for number in numbers_]
    assert len(set(together)) == len(together)


def test_calibration_inputs_follow_the_seed_and_not_the_labels() -> None:
    noisy = replace(
        task(30),
        augment=lambda batch, generator: batch + torch.rand(batch.shape, generator=generator),
        transform=lambda batch: 2 * batch,
    )
    unlabelled = replace(noisy, train=TensorDataset(noisy.train.tensors[0], torch.full((30,), torch.nan)))
    first, again, other, blind = (
        numbers(calibration_inputs(t, 9, seed=seed, device=CPU))
        for t, seed in ((noisy, 0), (noisy, 0), (noisy, 1), (unlabelled, 0))
    )
    assert first == again == blind
    assert first != other
    assert any(value / 2 % 1 > 0 for value in first)


@pytest.mark.parametrize(("side", "together"), [(1, 5), (512, 2), (1024, 1)])
def test_large_images_come_in_small_batches_and_all_of_them(side: int, together: int) -> None:
    enlarged = replace(task(5), transform=lambda batch: batch.reshape(-1, 1, 1, 1).expand(-1, 3, side, side))
    batches = calibration_inputs(enlarged, 5, seed=0, device=CPU)
    assert [len(batch) for batch in batches] == [len(rows) for rows in torch.arange(5).split(together)]
    assert sorted(float(image.mean()) for batch in batches for image in batch) == list(range(5))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_empty_data_give_no_batches(batch_size: int) -> None:
    assert list(in_order(numbered(0), batch_size)) == []
    assert list(shuffled(numbered(0), batch_size, torch.Generator())) == []


@pytest.mark.parametrize("dataset", [numbered(20), Items(20)])
def test_drawn_items_are_distinct_and_follow_the_seed(dataset: Dataset) -> None:
    def values(seed: int) -> list[float]:
        return numbers([inputs for inputs, _ in in_order(drawn(dataset, 8, seed), 3)])

    assert len(set(values(0))) == 8
    assert values(0) == values(0) != values(1)
    assert set(values(0)) <= set(map(float, range(20)))
    assert drawn(dataset, 20, 0) is dataset
