"""The paper's figures are all there, and the text's deltas are what its tables say or are known not to be."""

import pytest

from ravn.reproduce.catalogue import DATASETS, NETWORKS
from ravn.reproduce.paper import MEGABYTE, PAPER

ROWS = ("resnet20", "resnet50", "resnet152", "efficientnet", "mobilenet", "resnet200")
SETS = ("cifar10", "cifar100", "imagenet")
ARMS = ("vq", "aq", "rl+aq", "full")


def test_no_cell_is_missing() -> None:
    assert set(PAPER.tables) == set("123456")
    for network in ROWS:
        assert all(len(PAPER.row(1, network, data)) == 3 for data in SETS)
        assert all(len(PAPER.row(table, network)) == len(PAPER.tables[str(table)]["columns"]) for table in range(2, 6))
        assert network in NETWORKS
        assert PAPER.parameters[network] > 0
    assert all(len(PAPER.row(6, data, arm)) == 2 for data in SETS for arm in ARMS)
    assert set(PAPER.tables["1"]["rows"]) == set(ROWS)
    assert set(SETS) <= set(DATASETS)
    assert PAPER.row(1, "resnet20", "digits") == PAPER.row(1, "alexnet") == PAPER.row(6, "cifar10", "none") == ()


def test_bits_and_accuracies_are_such() -> None:
    for network in ROWS:
        for data in SETS:
            floats, four, proposed = PAPER.row(1, network, data)
            assert 50 < four < floats < 100
            assert 50 < proposed < floats
        floats, four, proposed = PAPER.row(2, network)
        assert four < proposed < floats
        assert 4 < PAPER.row(3, network)[0] < 5


def test_the_text_is_held_against_its_own_tables() -> None:
    verdicts = {(claim.where, claim.text): claim.agrees for claim in PAPER.claims}
    agreeing = {text for (_, text), agrees in verdicts.items() if agrees}
    assert agreeing == {
        "ResNet-152: megabytes more than 4-bit",
        "ResNet-152: kg CO2 more than 4-bit",
        "ResNet-20: less CO2 than float",
        "ResNet-200: smaller than float",
        "ResNet-50: less RAM than float",
        "ImageNet: RL+AQ above AQ",
        "ImageNet: accuracy of the full method, against Table 1's ResNet-50",
    }
    computed = {claim.text: claim.computed for claim in PAPER.claims}
    assert computed["CIFAR-10, ResNet-20: gain over 4-bit"] == pytest.approx(1.28)
    assert computed["ImageNet, ResNet-50: gain over 4-bit"] == pytest.approx(2.19)
    assert computed["CIFAR-100, ResNet-152: gain over 4-bit"] == pytest.approx(0.90)
    assert computed["CIFAR-100, ResNet-200: gain over 4-bit"] == pytest.approx(1.06)
    assert computed["ResNet-20: smaller than float"] == pytest.approx(57.7, abs=0.05)


def test_the_sizes_are_more_bits_than_the_paper_says() -> None:
    for network in ROWS:
        bits = 8 * MEGABYTE * PAPER.row(2, network)[-1] / PAPER.parameters[network]
        assert bits > 1.5 * PAPER.row(3, network)[0]
