"""Pictures are sorted into three disjoint splits, all of them, always alike; labels that are no classes are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.adapters.pictures import Examples
from ravn.adapters.splits import MOST_VALIDATION, TEST, TRAIN, collect
from ravn.errors import InputError

CLASSES = ("ant", "bee", "cow")
quick = settings(deadline=None, derandomize=True)
counts = st.integers(0, 400)


def examples(count: int, name: str) -> Examples:
    return Examples([f"{name}{i}".encode() for i in range(count)], [i % len(CLASSES) for i in range(count)])


def pairs(*splits: Examples) -> list[tuple[object, int]]:
    return [pair for split in splits for pair in zip(split.encoded, split.labels, strict=True)]


@given(counts, counts, st.sampled_from(TRAIN), st.sampled_from(TEST))
@quick
def test_every_picture_is_in_one_split_with_its_label(train: int, test: int, first: str, second: str) -> None:
    given_splits = {second: examples(test, "test"), first: examples(train, "train")}
    try:
        found = collect(given_splits, CLASSES, "it")
    except InputError as error:
        assert "too few pictures; give at least ten" in str(error)  # noqa: PT017 - it may be enough
        assert min(train, test) < 5 or train < 10
        return
    every = pairs(found.train, found.validation, found.test)
    assert len(set(every)) == len(every)
    assert set(every) == set(pairs(*given_splits.values()))
    assert found == collect(given_splits, CLASSES, "it")
    assert len(found.validation.labels) <= MOST_VALIDATION
    if train and test:
        assert found.test == given_splits[second]


@given(st.integers(10, 400), st.sampled_from(TRAIN + TEST))
@quick
def test_one_split_alone_is_cut_into_all_three(count: int, name: str) -> None:
    found = collect({name: examples(count, "x")}, CLASSES, "it")
    assert set(pairs(found.train, found.validation, found.test)) == set(pairs(examples(count, "x")))
    assert len(found.test.labels) == round(0.4 * count)
    assert len(found.validation.labels) == round(0.1 * (count - round(0.4 * count)))


def test_the_better_name_of_a_split_wins() -> None:
    splits = {name: examples(20 + i, name) for i, name in enumerate((*TRAIN, *TEST))}
    assert collect(splits, CLASSES, "it").test == splits["test"]
    del splits["test"], splits["train"]
    found = collect(splits, CLASSES, "it")
    assert found.test == splits["validation"]
    assert {e[:8] for e in found.train.encoded} == {b"training"}


@pytest.mark.parametrize("label", [-1, 3, 10**12])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_is_no_class_is_refused(label: int, split: str) -> None:
    splits = {"train": examples(20, "a"), "test": examples(20, "b")}
    splits[split] = Examples(splits[split].encoded, [*splits[split].labels[:-1], label])
    with pytest.raises(InputError, match="--data it is unlabelled: it has labels that are none of its 3 classes"):
        collect(splits, CLASSES, "it")


@pytest.mark.parametrize("splits", [{}, {"other": examples(50, "x")}, {"train": examples(4, "x")}])
def test_too_few_pictures_are_refused(splits: dict[str, Examples]) -> None:
    with pytest.raises(InputError, match="--data it holds too few pictures"):
        collect(splits, CLASSES, "it")
