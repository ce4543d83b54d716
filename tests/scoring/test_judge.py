"""The judge: zero for the float network, never negative, and faithful to Eq. 7."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from ravn.fidelity import features, fidelity_loss, performance_gap
from ravn.scoring import Judge
from ravn.scoring.judge import ONE_IN

WEIGHTS = ("0.weight", "3.weight", "6.weight")


def disturbed(network: nn.Module, scale: float, seed: int = 0) -> nn.Module:
    """A copy with noise on every weight, relative to the weights' own spread."""
    generator, result = torch.Generator().manual_seed(seed), copy.deepcopy(network)
    for name in WEIGHTS:
        weight = result.get_parameter(name)
        weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * scale)
    return result


def test_the_float_network_has_no_loss_at_all(network, images):
    judge = Judge(network, WEIGHTS, images)
    assert judge.parts(network) == (0.0, 0.0)
    assert judge.loss(copy.deepcopy(network)) == 0.0


@pytest.mark.parametrize("scale", [1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 0.1, 1.0, 30.0])
def test_neither_part_is_ever_negative(network, images, scale):
    judge = Judge(network, WEIGHTS, images)
    for seed in range(8):
        fidelity, gap = judge.parts(disturbed(network, scale, seed))
        assert fidelity >= 0
        assert gap >= 0


def test_the_loss_grows_with_the_disturbance(network, images):
    judge = Judge(network, WEIGHTS, images)
    losses = [judge.loss(disturbed(network, scale)) for scale in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)]
    assert losses == sorted(losses)
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize("trade_off", [0.0, 0.5, 3.0])
def test_the_loss_is_fidelity_plus_the_weighted_gap(network, images, trade_off):
    judge, other = Judge(network, WEIGHTS, images, trade_off), disturbed(network, 0.3)
    fidelity, gap = judge.parts(other)
    assert judge.loss(other) == pytest.approx(fidelity + trade_off * gap, rel=1e-6)
    assert fidelity > 0 < gap


def test_batches_of_different_sizes_count_by_their_images(network, images):
    together, other = torch.cat(images), disturbed(network, 0.3)
    split = [together[:5], together[5:]]
    gap = Judge(network, WEIGHTS, split).parts(other)[1]
    # A divergence is what is left of large sums, and batches of other sizes add them up in another order.
    assert gap == pytest.approx(float(performance_gap(network(together), other(together))), rel=1e-3)
    fidelities = [Judge(network, WEIGHTS, [batch]).parts(other)[0] for batch in split]
    expected = (5 * fidelities[0] + (len(together) - 5) * fidelities[1]) / len(together)
    assert Judge(network, WEIGHTS, split).parts(other)[0] == pytest.approx(expected, rel=1e-6)


def test_features_are_read_after_the_batch_norm_where_there_is_one(network, images):
    other, points = disturbed(network, 0.3), ("1", "3", "6")
    seen = []
    for net in (network, other):
        with features(net, points) as outputs:
            net(images[0][: -(-len(images[0]) // ONE_IN)])
            seen.append(dict(outputs))
    expected = float(fidelity_loss(*seen))
    assert Judge(network, WEIGHTS, images[:1]).parts(other)[0] == pytest.approx(expected, rel=1e-6)


def test_only_the_first_images_of_a_batch_enter_the_fidelity_and_all_enter_the_gap(network, images):
    batch, other = torch.cat([*images, *images]), disturbed(network, 0.3)
    changed = batch.clone()
    changed[-(-len(batch) // ONE_IN) :] = 0
    first, second = (Judge(network, WEIGHTS, [b]).parts(other) for b in (batch, changed))
    assert first[0] == pytest.approx(second[0], rel=1e-6)
    assert first[1] != pytest.approx(second[1], rel=1e-3)


@pytest.mark.parametrize("broken", [math.nan, math.inf, 3e38])
def test_a_network_that_overflows_has_an_infinite_loss(network, images, broken):
    other = copy.deepcopy(network)
    other[3].weight[0] = broken
    assert Judge(network, WEIGHTS, images).loss(other) == math.inf


def test_judging_leaves_both_networks_as_they_were(network, images):
    other = disturbed(network, 0.3)
    before = [{n: t.clone() for n, t in net.state_dict().items()} for net in (network, other)]
    Judge(network, WEIGHTS, images).loss(other)
    for net, state in zip((network, other), before, strict=True):
        assert_same_state(net, state)
        assert not any(module._forward_hooks for module in net.modules())


def assert_same_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
