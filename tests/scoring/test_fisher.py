"""The Fisher information of layers, and the steps that follow it."""

import pytest
import torch
from torch import Tensor, nn

from ravn.scoring.fisher import EXPONENT, IMAGES, WIDEST, fisher_information, step_octaves
from ravn.scoring.workbench import filling_step, least_step, prepare


def test_it_is_the_expected_squared_gradient_of_the_classes_that_the_network_draws():
    torch.manual_seed(0)
    network = nn.Linear(6, 3)
    images = torch.randn(IMAGES, 6)
    found = fisher_information(network, ["weight"], [images])["weight"]
    # Of softmax(W x) the diagonal is p_c (1 - p_c) x_j^2.
    chances = network(images).detach().softmax(1)
    exact = float(((chances * (1 - chances)).mean(1, keepdim=True) * images.square()).mean())
    assert found == pytest.approx(exact, rel=0.4)


def test_it_predicts_the_divergence_that_small_errors_cause():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    images = torch.randn(IMAGES, 8)
    names = ["0.weight", "2.weight"]
    found = fisher_information(network, names, [images])
    before = network(images).detach().log_softmax(1)
    for name in names:
        weight, gaps = network.get_parameter(name), []
        kept = weight.detach().clone()
        for _ in range(200):
            weight.data = kept + 0.01 * torch.randn_like(kept)
            after = network(images).detach().log_softmax(1)
            gaps.append(float((before.exp() * (before - after)).sum(1).mean()))
        weight.data = kept
        assert sum(gaps) / 200 == pytest.approx(0.5 * 0.01**2 * kept.numel() * found[name], rel=0.5)


def test_the_network_and_its_gradients_are_left_as_they_were(network, layers, images):
    names = [layer.name for layer in layers]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wanted = [p.requires_grad for p in network.parameters()]
    first = fisher_information(network, names, images)
    torch.manual_seed(5)
    assert fisher_information(network, names, images) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert all(p.grad is None for p in network.parameters())


class Blind(nn.Module):
    """A layer that is never called, and one whose outputs don't depend on it by any gradient."""

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.used, self.spare, self._hidden = nn.Linear(4, 3), nn.Linear(4, 3), hidden

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.used(x)
        return out.detach() if self._hidden else out


def test_layers_that_no_gradient_reaches_are_left_out_and_keep_the_step_in_the_middle():
    names, images = ["used.weight", "spare.weight"], [torch.randn(8, 4)]
    assert set(fisher_information(Blind(hidden=False), names, images)) == {"used.weight"}
    assert fisher_information(Blind(hidden=True), names, images) == {}
    assert fisher_information(Blind(hidden=False), names, []) == {}
    assert step_octaves({}, names) == dict.fromkeys(names, 0.0)
    assert step_octaves({"used.weight": 1e-3}, names) == dict.fromkeys(names, 0.0)


def test_a_step_falls_with_the_information_by_a_power_that_is_bounded():
    octaves = step_octaves({"a": 2.0**-8, "b": 1.0, "c": 2.0**8}, ["a", "b", "c"])
    assert octaves == {"a": 4 * EXPONENT, "b": 0.0, "c": -4 * EXPONENT}
    assert step_octaves({"a": 1e-30, "b": 1e30}, ["a", "b"]) == {"a": WIDEST, "b": -WIDEST}


def test_a_layer_that_matters_more_is_offered_finer_steps(images, network, layers):
    names = [layer.name for layer in layers]
    octaves = step_octaves(fisher_information(network, names, images), names)
    assert len(set(octaves.values())) > 1
    options = prepare(network, layers, images, clusters=0, capacity_bytes=400)
    step = filling_step(network, names, 400, octaves)
    for name, option in zip(names, options, strict=True):
        expected = max(step * 2 ** octaves[name], least_step(network.get_parameter(name).detach()))
        assert option.middle == pytest.approx(expected)
