"""Codes that are final are refined along a trellis, where that is better and fits."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from ravn.codecs import ClusterCodec, Codec, EntropyCodec, TrellisCodec
from ravn.encoding import encode_network
from ravn.progress import Silent
from ravn.scoring import Judge
from ravn.stages import Coded, Inputs, refined

NAMES = ("0.weight", "2.weight")


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 24)).eval()


def images(seed: int) -> list[Tensor]:
    return [torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(seed))]


INPUTS = Inputs(images(0), [], images(1))


def coded(network: nn.Module, codecs: Mapping[str, Codec]) -> Coded:
    return Coded(network, dict(codecs), encode_network(network, codecs, INPUTS.calibration))


def payload_bytes(codes: Coded) -> int:
    return sum(e.size_bytes for e in codes.encoded.values())


@pytest.mark.parametrize("spectral", [False, True])
def test_the_trellis_is_nearer_to_the_float_network_in_the_same_bytes(network: nn.Module, spectral: bool) -> None:
    plain = coded(network, dict.fromkeys(NAMES, EntropyCodec(0.05, spectral=spectral)))
    judge = Judge(network, list(NAMES), INPUTS.holdout, 1.0)
    found = refined(plain, network, payload_bytes(plain), judge=judge, inputs=INPUTS, progress=Silent())
    assert all(isinstance(codec, TrellisCodec) and codec.spectral == spectral for codec in found.codecs.values())
    assert payload_bytes(found) <= payload_bytes(plain)
    assert judge.loss(found.quantized()) < judge.loss(plain.quantized())


def test_codes_stay_that_cannot_be_refined_or_leave_no_room(network: nn.Module) -> None:
    judge = Judge(network, list(NAMES), INPUTS.holdout, 1.0)
    clusters = coded(network, dict.fromkeys(NAMES, ClusterCodec((2, 1, 2))))
    zeros = coded(network, dict.fromkeys(NAMES, EntropyCodec(100.0)))
    for codes in (clusters, zeros):
        unseen = Inputs([], [], INPUTS.holdout)
        found = refined(codes, network, payload_bytes(codes), judge=judge, inputs=unseen, progress=Silent())
        assert found is codes
