"""Filling a network that the user built."""

import pytest
import torch
from torch import nn

from ravn.artifact import Artifact, fill
from ravn.codecs import EntropyCodec
from ravn.errors import ArtifactError, InputError

CODEC = EntropyCodec(0.125)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def artifact_of(model: nn.Module) -> Artifact:
    state = model.state_dict()
    layers = {name: CODEC.encode(value) for name, value in state.items() if value.dim() >= 2}
    tensors = {name: value for name, value in state.items() if name not in layers}
    return Artifact("", {}, layers, dict.fromkeys(layers, CODEC), tensors, source="m.ravn")


def test_fill_copies_everything() -> None:
    artifact, model = artifact_of(network()), network()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    fill(model, artifact)
    for name, tensor in artifact.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_the_network_keeps_its_dtype_and_its_parameters() -> None:
    model = network().to(torch.bfloat16)
    before = list(model.parameters())
    fill(model, artifact_of(network()))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert model[0].weight.dtype == torch.bfloat16
    assert model[0].weight.requires_grad


def test_tied_weights_are_filled_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    weight = torch.eye(3)
    tensors = {"0.bias": torch.ones(3), "1.bias": torch.ones(3)}
    artifact = Artifact(
        "",
        {},
        {"0.weight": CODEC.encode(weight)},
        {"0.weight": CODEC},
        tensors,
        {"1.weight": "0.weight"},
    )
    fill(model, artifact)
    assert model[1].weight is model[0].weight
    assert torch.equal(model[1].weight, weight)


def test_the_first_difference_is_named_and_nothing_is_copied() -> None:
    artifact = artifact_of(network())
    wide = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    with pytest.raises(InputError, match=r"'2\.weight' has shape \(3, 4\).*\(2, 4\) in m\.ravn"):
        fill(wide, artifact)
    assert all(torch.equal(before[name], value) for name, value in wide.state_dict().items())
    with pytest.raises(InputError, match=r"network has '3\.weight', which m\.ravn doesn't hold"):
        fill(nn.Sequential(*network(), nn.Linear(2, 2)), artifact)
    with pytest.raises(InputError, match=r"m\.ravn holds '2\.weight'"):
        fill(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), artifact)


def test_a_broken_payload_leaves_the_network_as_it_is() -> None:
    model, artifact = network(), artifact_of(network())
    name = "2.weight"
    broken = {**artifact.layers}
    broken[name] = type(broken[name])("entropy", (2, 4), "float32", b"\0\0")
    with pytest.raises(ArtifactError):
        fill(model, Artifact("", {}, broken, artifact.codecs, artifact.tensors))
    assert torch.equal(model[0].weight, network()[0].weight)
