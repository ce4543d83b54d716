"""What the network computes with is what a file would hold, at the bytes that were asked for."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from separable import coarse_codecs, payload_bytes, small_network
from torch import Tensor, nn

from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, UniformCodec, decoded
from ravn.codecs.base import as_matrix
from ravn.codecs.spectrum import synthesis
from ravn.encoding import encode_decided, encode_network
from ravn.layers import set_weights
from ravn.training.straight_through import StraightThrough

SPECTRAL = EntropyCodec(0.1, spectral=True)
FIXED = [ClusterCodec((1, 0, 2)), CodebookCodec(2), UniformCodec(2), UniformCodec(3, False)]
CODECS = [EntropyCodec(0.1), SPECTRAL, *FIXED]
NAMES = ("0.weight", "6.weight")


def started(codec: Codec, capacity_bytes: int = 200) -> tuple[nn.Module, StraightThrough]:
    network = small_network()
    latents = {name: network.get_parameter(name).detach() for name in NAMES}
    return network, StraightThrough(network, dict.fromkeys(NAMES, codec), capacity_bytes, latents)


def moved(quantized: StraightThrough, amount: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for latent in quantized.parameters():
            latent += amount * torch.randn(latent.shape, generator=generator)


def latent_network(network: nn.Module, quantized: StraightThrough) -> nn.Module:
    network = copy.deepcopy(network)
    set_weights(network, quantized.weights().items())
    return network


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_after_a_refit_the_network_holds_what_a_file_would_hold(codec: Codec) -> None:
    network, quantized = started(codec)
    quantized.refit()
    moved(quantized, 0.05)
    quantized.refit()
    encoded = encode_network(latent_network(network, quantized), quantized.codecs, [])
    assert all(torch.equal(network.get_parameter(name), decoded(encoded[name])) for name in NAMES)
    assert quantized.size_bytes() == sum(len(e.payload) for e in encoded.values())


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_after_a_refresh_the_weights_lie_on_the_levels_of_the_last_refit(codec: Codec) -> None:
    network, quantized = started(codec)
    quantized.refit()
    grids = {name: quantized.codecs[name].grid(as_matrix(quantized.latents[name])) for name in NAMES}
    before = {name: network.get_parameter(name).clone() for name in NAMES}
    moved(quantized, 0.5)
    quantized.refresh()
    for name in NAMES:
        levels, weight = grids[name].levels, network.get_parameter(name)
        values = as_matrix(codec.analysed(weight))
        assert ((values[:, :, None] - levels[:, None, :]).abs().amin(-1) < (1e-6 if codec == SPECTRAL else 1e-30)).all()
        assert not torch.equal(weight, before[name])


def test_equal_steps_stay_multiples_of_the_step() -> None:
    network, quantized = started(EntropyCodec(0.1))
    for _ in range(3):
        moved(quantized, 0.1)
        quantized.refit()
        for name, codec in quantized.codecs.items():
            assert isinstance(codec, EntropyCodec)
            weight = network.get_parameter(name)
            torch.testing.assert_close(weight / codec.step, torch.round(weight / codec.step))


@given(st.floats(0.75, 1.35), st.floats(0.5, 2.5))
@settings(deadline=None, derandomize=True, max_examples=8)
def test_refits_bring_the_bytes_to_the_capacity(share: float, factor: float) -> None:
    network = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 96))
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    codecs = coarse_codecs(network, factor)
    latents = {name: network.get_parameter(name).detach() for name in codecs}
    capacity = round(share * payload_bytes(network, codecs))
    quantized = StraightThrough(network, codecs, capacity, latents)
    for _ in range(10):
        quantized.refit()
    assert abs(quantized.size_bytes() - capacity) <= 0.01 * capacity


@pytest.mark.parametrize("codec", [EntropyCodec(0.1), SPECTRAL], ids=repr)
def test_settled_weights_keep_their_code_lengths_and_a_file_holds_their_codes(codec: Codec) -> None:
    network, quantized = started(codec)
    quantized.refit()
    before = quantized.roundings
    moved(quantized, 0.02)
    quantized.refit(travel=1e-3)
    for name, rounding in quantized.roundings.items():
        assert rounding.grid.lengths is before[name].grid.lengths
        assert rounding.codec == quantized.codecs[name] != before[name].codec
    weights = quantized.weights()
    encoded = {n: encode_decided(weights[n], quantized.codecs[n], network.get_parameter(n)) for n in NAMES}
    assert all(torch.equal(network.get_parameter(name), decoded(encoded[name])) for name in NAMES)
    assert quantized.payload_bytes == sum(len(e.payload) for e in encoded.values())
    quantized.refit(travel=0.1)
    assert not any(quantized.roundings[name].grid.lengths is before[name].grid.lengths for name in NAMES)


@given(st.floats(0.9, 1.1))
@settings(deadline=None, derandomize=True, max_examples=8)
def test_settled_weights_are_brought_to_the_capacity_too(share: float) -> None:
    network = nn.Linear(128, 64)
    nn.init.normal_(network.weight, generator=torch.Generator().manual_seed(0))
    codecs = coarse_codecs(network, 1.0)
    capacity = round(share * payload_bytes(network, codecs))
    quantized = StraightThrough(network, codecs, capacity, {"weight": network.weight.detach()})
    quantized.fit_levels(codecs)
    for _ in range(4):
        quantized.refit(travel=0.0)
    assert quantized.payload_bytes == pytest.approx(capacity, rel=0.01)


@pytest.mark.parametrize("codec", FIXED, ids=repr)
def test_codecs_without_a_step_are_kept(codec: Codec) -> None:
    _, quantized = started(codec, capacity_bytes=10)
    quantized.refit()
    assert quantized.codecs == dict.fromkeys(NAMES, codec)


def test_gradients_move_to_the_latent_weights() -> None:
    network, quantized = started(EntropyCodec(0.1))
    quantized.refit()
    network(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    expected: dict[str, Tensor] = {name: network.get_parameter(name).grad.clone() for name in NAMES}
    bias = network.get_parameter("6.bias").grad.clone()
    quantized.take_gradients()
    for name in NAMES:
        assert torch.equal(quantized.latents[name].grad, expected[name])
        assert expected[name].abs().sum() > 0
        assert network.get_parameter(name).grad is None
    assert torch.equal(network.get_parameter("6.bias").grad, bias)


def test_gradients_of_coefficients_are_those_of_the_weights_that_they_make() -> None:
    network, quantized = started(SPECTRAL)
    quantized.refit()
    latent = quantized.latents["0.weight"].detach().clone().requires_grad_()
    weight = synthesis(latent)
    toward = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    (weight * toward).sum().backward()
    network.get_parameter("0.weight").grad = toward.clone()
    quantized.take_gradients()
    torch.testing.assert_close(quantized.latents["0.weight"].grad, latent.grad)


def test_a_weight_without_a_gradient_gives_none() -> None:
    network, quantized = started(EntropyCodec(0.1))
    quantized.refit()
    network[:4](torch.ones(2, 1, 8, 8)).sum().backward()
    quantized.take_gradients()
    assert quantized.latents["6.weight"].grad is None
    assert quantized.latents["0.weight"].grad is not None


def test_latent_weights_are_copies() -> None:
    network = small_network()
    given_latents = {name: network.get_parameter(name).detach().clone() for name in NAMES}
    kept = {name: latent.clone() for name, latent in given_latents.items()}
    quantized = StraightThrough(network, dict.fromkeys(NAMES, EntropyCodec(0.1)), 200, given_latents)
    moved(quantized, 1.0)
    quantized.refit()
    assert all(torch.equal(given_latents[name], kept[name]) for name in NAMES)
