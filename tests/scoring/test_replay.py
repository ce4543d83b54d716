"""A pass that begins where a plan differs gives, bit for bit, what a whole one gives, and does less."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ravn.scoring.replay import Replay


class Awkward(nn.Module):
    """Residual sums and activations in place, a layer that is called twice, one that is not called but multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.bare, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.last.weight = self.tied.weight

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.norm(self.first(x))
        self.act(x)
        y = self.twice(x)
        y += x
        x = self.twice(self.act(y)).mean((2, 3))
        x = functional.linear(x, self.bare.weight)
        out: Tensor = self.last(functional.gelu(self.tied(x)))
        return out


NAMES = ("first.weight", "twice.weight", "bare.weight", "tied.weight")


@pytest.fixture(scope="module")
def awkward() -> nn.Module:
    torch.manual_seed(0)
    return Awkward().eval()


def exchanged(network: nn.Module, plan: tuple[int, ...], originals: dict[str, Tensor]) -> dict[str, int]:
    """Give a network the weights of a plan."""
    for name, choice in zip(NAMES, plan, strict=True):
        network.get_parameter(name).data = originals[name] * (1 + choice / 4)
    return dict(zip(NAMES, plan, strict=True))


plans = st.lists(st.tuples(*[st.integers(0, 2)] * len(NAMES)), min_size=2, max_size=8)


@settings(deadline=None, max_examples=40)
@given(plans=plans, batches=st.integers(1, 3), most=st.sampled_from([0, 9000, 1 << 30]))
def test_outputs_are_those_of_whole_passes_whatever_changes_and_in_place(awkward, plans, batches, most):
    network = copy.deepcopy(awkward)
    originals = {name: network.get_parameter(name).detach().clone() for name in NAMES}
    images = torch.randn(batches, 5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    replay = Replay(network, most)
    for plan in plans:
        named = exchanged(network, plan, originals)
        for number, batch in enumerate(images):
            found = replay.outputs(number, batch, named)
            with torch.no_grad():
                assert torch.equal(found, network(batch))
    assert all("forward" not in module.__dict__ for module in network.modules())


@pytest.fixture
def counted() -> tuple[nn.Sequential, list[int]]:
    """A chain of layers, and how often each has been computed."""
    torch.manual_seed(0)
    network, calls = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(4))).eval(), [0] * 4
    for number, layer in enumerate(network):
        plain = layer.forward

        def forward(x: Tensor, number: int = number, plain=plain) -> Tensor:
            """Count, and compute."""
            calls[number] += 1
            return plain(x)

        layer.forward = forward
    return network, calls


def test_only_what_comes_after_a_change_is_computed(counted):
    network, calls = counted
    replay, batch = Replay(network), torch.randn(3, 6)
    plan = dict.fromkeys(["0.weight", "1.weight", "2.weight", "3.weight"], 0)
    replay.outputs(0, batch, plan)
    assert calls == [1, 1, 1, 1]
    replay.outputs(0, batch, plan | {"2.weight": 1})
    assert calls == [1, 1, 2, 2]
    replay.outputs(0, batch, plan | {"3.weight": 1})
    assert calls == [1, 1, 2, 3]
    # Plans that resemble one another more than the first one take its place.
    other = plan | {"0.weight": 2}
    for last in range(3, 6):
        replay.outputs(0, batch, other | {"3.weight": last})
    assert calls == [3, 3, 4, 6]


def test_without_memory_all_is_computed(counted):
    network, calls = counted
    replay, batch = Replay(network, 0), torch.randn(3, 6)
    for number in range(1, 4):
        replay.outputs(0, batch, {"0.weight": 0, "1.weight": 0})
        assert calls == [number] * 4


def test_a_pass_that_breaks_leaves_the_network_and_the_next_pass_whole(counted):
    network, calls = counted
    replay, plan = Replay(network), {"0.weight": 0}
    batch = torch.randn(3, 6)
    expected = replay.outputs(0, batch, plan)
    with pytest.raises(RuntimeError):
        replay.outputs(0, torch.randn(3, 5), plan | {"0.weight": 1})
    assert torch.equal(replay.outputs(0, batch, plan), expected)
    assert calls == [2, 1, 1, 1]
