"""Passes that wait at every layer see what passes of their own for every layer would see."""

import copy
import threading
from contextlib import closing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.calibration import weight_moments
from ravn.layers import set_weights
from ravn.lockstep import lockstep
from slow_moments import input_moments


class Residual(nn.Module):
    """A stem, blocks with shortcuts and branches, one of them called twice, and a classifier."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, groups=1 + i % 2) for i in range(blocks))
        self.branch = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = torch.relu(x + block(x) + self.branch(x))
        return self.head(x.mean((2, 3)))


def weights(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.dim() > 1]


@given(st.integers(0, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_a_network_that_is_changed_on_the_way_is_seen_as_changed(blocks: int, sizes: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = Residual(blocks).eval()
    batches = [torch.randn(size, 3, 6, 6) for size in sizes]
    ours, slow = copy.deepcopy(model), copy.deepcopy(model)
    seen = []
    for name, moments in weight_moments(ours, model, weights(model), batches):
        expected = input_moments(slow, model, name, batches)
        assert (moments is None) == (expected is None)
        if expected is not None:
            assert torch.equal(moments.second, expected.second)
            assert torch.equal(moments.cross, expected.cross)
        for network in (ours, slow):
            set_weights(network, [(name, model.get_parameter(name).mul(4).round().div(4))])
        seen.append(name)
    assert sorted(seen) == sorted(weights(model))


def test_every_module_is_met_once_in_the_order_of_the_calls() -> None:
    model = Residual(2)
    names = ["head", "blocks.1", "branch", "stem", "blocks.0"]
    with closing(lockstep([(model, torch.ones(2, 3, 4, 4))] * 2, names)) as stops:
        met = [name for name, inputs in stops if sorted(inputs) == [0, 1]]
    assert met == ["stem", "blocks.0", "branch", "blocks.1", "head"]


class Moody(nn.Module):
    """Goes another way for other inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd, self.last = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        ways = (self.even, self.odd) if int(x[0, 0]) % 2 == 0 else (self.odd,)
        for way in ways:
            x = way(x)
        return self.last(x)


def test_passes_that_go_different_ways_meet_again() -> None:
    model = Moody()
    runs = [(model, torch.full((1, 2), float(start))) for start in (0, 1, 2)]
    with closing(lockstep(runs, ["even", "odd", "last"])) as stops:
        met = {name: sorted(inputs) for name, inputs in stops}
    assert met == {"even": [0, 2], "odd": [0, 1, 2], "last": [0, 1, 2]}


def test_nothing_stays_when_a_walk_is_left_or_fails() -> None:
    model, before = Residual(3), threading.active_count()
    with closing(lockstep([(model, torch.ones(1, 3, 4, 4))] * 3, ["stem", "head"])) as stops:
        next(stops)
    with (
        pytest.raises(RuntimeError, match="expected input"),
        closing(lockstep([(model, torch.ones(1, 2, 4, 4))], [])) as s,
    ):
        list(s)
    assert threading.active_count() == before
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model(torch.ones(1, 3, 4, 4)).shape == (1, 5)
