"""Codes that are final are refined along a trellis, where that is better and fits."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from ravn import stages
from ravn.adapters import make_task
from ravn.batches import first_images
from ravn.codecs import ClusterCodec, Codec, EntropyCodec, TrellisCodec
from ravn.encoding import encode_network
from ravn.progress import Silent
from ravn.scoring import Judge
from ravn.settings import Settings
from ravn.stages import LEAST_IMAGES, MOST_WAITING_BYTES, Coded, Inputs, draw_inputs, refined, side_by_side

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


def test_as_many_images_wait_side_by_side_as_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Flatten(), nn.Linear(8 * 100, 4))
    image = torch.zeros(1, 1, 10, 10)
    assert side_by_side(model, image) == MOST_WAITING_BYTES // (4 * 8 * 100 * 4)
    monkeypatch.setattr(stages, "MOST_WAITING_BYTES", 1)
    assert side_by_side(model, image) == LEAST_IMAGES
    batches = [torch.arange(6.0), torch.arange(6.0, 9.0)]
    for count in range(12):
        kept = first_images(batches, count)
        assert torch.equal(torch.cat([*kept, torch.zeros(0)]), torch.arange(9.0)[:count])
        assert [len(b) for b in kept] == [n for n in (min(count, 6), min(max(count - 6, 0), 3)) if n]


def test_what_plans_are_scored_on_is_blended_and_what_compensates_is_not() -> None:
    task, counts = make_task("digits:resnet8", "digits"), {"calibration_images": 32, "search_images": 32}
    plain, blended = (draw_inputs(task, Settings(**counts, holdout_images=32, mixing=share)) for share in (0.0, 1.0))
    assert torch.equal(torch.cat(plain.calibration), torch.cat(blended.calibration))
    for before, after in ((plain.search, blended.search), (plain.holdout, blended.holdout)):
        assert torch.cat(before).shape == torch.cat(after).shape
        changed = (torch.cat(before) != torch.cat(after)).flatten(1).any(1)
        assert changed.float().mean() > 0.8
        # Blended with each other: no image is brighter or darker than all that it could be made of.
        assert torch.cat(before).min() <= torch.cat(after).min() <= torch.cat(after).max() <= torch.cat(before).max()
