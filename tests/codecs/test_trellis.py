"""The trellis against exhaustive search, against Shannon, and against the equal step."""

import itertools
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.calibration import Moments
from ravn.codecs import EntropyCodec, TrellisCodec, decoded
from ravn.codecs.dependent import (
    LONGEST,
    PARITY_CHECKS,
    SHORTEST,
    chain_length,
    predecessors,
    second_quantizer,
    transitions,
)
from ravn.codecs.rounding import Curvature
from ravn.codecs.viterbi import Alphabet, cheapest_paths, compensated_paths
from ravn.encoding import coarser, encode_layer, encode_within
from ravn.errors import ArtifactError

every_machine = pytest.mark.parametrize("states", PARITY_CHECKS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_alphabet(size: int, price: float = 0.3, classes: int = 2) -> Alphabet:
    """Levels as the codec has them, the rest of class c at 1/2 - c/4, at random prices."""
    low = -(size // 4 * 2)
    levels = (2 * torch.arange(low, low + size) + 0.5).repeat(classes, 1)
    levels[:, -low] -= torch.arange(classes) / 4
    return Alphabet(low, levels, price * normal(classes, size, seed=9).abs())


@every_machine
def test_two_arrows_lead_to_every_state_and_two_away(states: int) -> None:
    following = transitions(states)
    origin, parity = predecessors(states)
    arrows = set(zip(origin.flatten().tolist(), parity.flatten().tolist(), strict=True))
    assert len(arrows) == 2 * states
    assert (following[origin, parity] == np.arange(states)).all()


@every_machine
@pytest.mark.parametrize(("count", "length"), [(1, 1), (7, 7), (8, 8), (50, 11), (64, 16), (700, 300)])
def test_eight_steps_at_once_are_eight_steps(states: int, count: int, length: int) -> None:
    parities = np.random.default_rng(count).integers(0, 2, count)
    following, expected, state = transitions(states), [], 0
    for place, parity in enumerate(parities):
        state = state if place % length else 0
        expected.append(state & 1)
        state = following[state, parity]
    assert second_quantizer(parities, length, states).tolist() == expected


def test_the_cheapest_level_of_either_parity_is_offered() -> None:
    alphabet = some_alphabet(12)
    values, classes = normal(200) * 6, torch.arange(200) % 2
    for parity, (costs, places) in enumerate(zip(*alphabet.offers(values, classes * 12, 0.7), strict=True)):
        every = (values[:, None] - alphabet.levels[classes]).square() * 0.7 + alphabet.tolls[classes]
        inner = (values > alphabet.levels[0, 2]) & (values < alphabet.levels[0, -3])
        assert torch.allclose(every.gather(1, places[:, None])[:, 0], costs)
        assert (places % 2 == parity).all()
        near = (values[:, None] - alphabet.levels[classes]).abs() <= 4
        least = every.where(near & (torch.arange(12) % 2 == parity), torch.inf).min(1).values
        assert torch.allclose(costs[inner], least[inner])


def exhaustive(values: list[float], classes: list[int], alphabet: Alphabet, states: int) -> float:
    """Least cost over all sequences of levels."""
    following, least = transitions(states), math.inf
    for codes in itertools.product(range(alphabet.levels.shape[1]), repeat=len(values)):
        state, cost = 0, 0.0
        for value, owner, code in zip(values, classes, codes, strict=True):
            level = float(alphabet.levels[owner, code])
            cost += (value - (-level if state & 1 else level)) ** 2 + float(alphabet.tolls[owner, code])
            state = following[state, code & 1]
        least = min(least, cost)
    return least


def cost_of(values: Tensor, classes: Tensor, codes: Tensor, alphabet: Alphabet, states: int) -> Tensor:
    owners = [second_quantizer(row.numpy() & 1, len(row), states) for row in codes]
    signs = 1 - 2 * torch.from_numpy(np.stack(owners)).float()
    levels = alphabet.levels[classes, codes.long()] * signs
    return ((values - levels).square() + alphabet.tolls[classes, codes.long()]).sum(-1)


@pytest.mark.parametrize("states", [4, 8])
def test_no_path_is_cheaper_than_the_one_found(states: int) -> None:
    alphabet = some_alphabet(6)
    values, classes = normal(3, 4) * 2, torch.arange(12).reshape(3, 4) % 2
    codes = cheapest_paths(values, classes, alphabet, states=states)
    found = cost_of(values, classes, codes, alphabet, states)
    for row, owners, cost in zip(values.tolist(), classes.tolist(), found, strict=True):
        assert float(cost) == pytest.approx(exhaustive(row, owners, alphabet, states), rel=1e-5)


@every_machine
@pytest.mark.parametrize(("rows", "stacked"), [(6, 1), (6, 2), (7, 3)])
def test_without_correlations_compensation_is_the_plain_search(states: int, rows: int, stacked: int) -> None:
    alphabet, columns = some_alphabet(20), 40
    values, classes = normal(rows, columns) * 2, torch.arange(rows * columns).reshape(rows, columns) % 2
    white = Curvature(torch.eye(columns)[None], torch.arange(columns), 1.0)
    codes = compensated_paths(values, classes, alphabet, curvature=white, states=states, stacked=stacked)
    chained = (
        torch.nn.functional.pad(t.flatten(), (0, -rows % stacked * columns)).reshape(-1, stacked * columns)
        for t in (values, classes)
    )
    plain = cheapest_paths(*chained, alphabet, states=states)
    assert torch.equal(codes.flatten(), plain.flatten()[: codes.numel()])


@pytest.mark.parametrize(("groups", "rows", "columns"), [(1, 12, 80), (3, 12, 20), (48, 48, 9), (2, 6, 300)])
def test_compensation_lowers_the_output_error(groups: int, rows: int, columns: int) -> None:
    inputs = normal(groups, 400, columns) + normal(groups, 400, 1, seed=1)
    second = inputs.mT @ inputs / 400
    moments = Moments(second, torch.zeros_like(second))
    weight = normal(rows, columns)
    codec = TrellisCodec(0.3)

    def energy(seen: Moments | None, codec: TrellisCodec | EntropyCodec = codec) -> float:
        error = (decoded(encode_layer(weight, codec, seen, rate_price=0.0)) - weight).reshape(groups, -1, columns)
        return float(((error @ second) * error).sum())

    assert energy(moments) < 0.75 * energy(None)
    assert energy(moments) < energy(moments, EntropyCodec(0.6))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (700, 1), (5, 3), (16, 27), (3, 300), (1, LONGEST + 77)])
@pytest.mark.parametrize("states", [4, 32])
def test_every_shape_comes_back(rows: int, columns: int, states: int) -> None:
    codec, weight = TrellisCodec(0.4, states), normal(rows, columns)
    grid = codec.grid(weight)
    codes = codec.quantize(weight, grid, price=0.05)
    assert torch.equal(codec.unpack(codec.pack(codes, grid), rows, columns), grid.values(codes))


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(derandomize=True)
def test_chains_are_whole_rows_of_sane_length(rows: int, columns: int) -> None:
    length = chain_length(rows, columns)
    assert length % columns == 0
    assert length <= rows * columns
    assert length >= min(SHORTEST, rows * columns)


def gap(weight: Tensor, codec: TrellisCodec | EntropyCodec) -> float:
    """Bits per weight beyond the Gaussian rate-distortion function."""
    encoded = encode_layer(weight, codec, None)
    error = (decoded(encoded) - weight).double().square().mean() / weight.double().square().mean()
    return 8 * encoded.size_bytes / weight.numel() + 0.5 * math.log2(float(error))


@pytest.mark.parametrize(("step", "bits"), [(0.5, 2), (0.25, 3), (0.125, 4)])
def test_a_gaussian_costs_little_more_than_shannon_asks_for(step: float, bits: int) -> None:
    weight = normal(128, 1024)
    assert 8 * encode_layer(weight, TrellisCodec(step), None).size_bytes / weight.numel() == pytest.approx(
        bits, abs=0.1
    )
    assert 0 < gap(weight, TrellisCodec(step)) < 0.09
    assert gap(weight, EntropyCodec(2 * step)) > 0.24


def test_more_states_are_nearer_to_shannon() -> None:
    weight = normal(32, 1024)
    gaps = [gap(weight, TrellisCodec(0.3, states)) for states in PARITY_CHECKS]
    assert gaps == sorted(gaps, reverse=True)


@pytest.mark.parametrize("step", [0.7, 1.0, 1.4])
def test_few_bits_are_well_spent_on_peaked_weights(step: float) -> None:
    uniform = torch.rand(128, 1024, generator=torch.Generator().manual_seed(0)).sub(0.5).double()
    weight = (-uniform.sign() * (1 - 2 * uniform.abs()).log() / math.sqrt(2)).float()
    peaked = 0.5 * math.log2(math.e / math.pi)
    assert gap(weight, TrellisCodec(step)) - peaked < 0.105


def test_scales_and_the_trellis_both_pay() -> None:
    spread = normal(64, 1, 1, 1, seed=1).exp2() * normal(1, 32, 1, 1, seed=2).exp2()
    weight = normal(64, 32, 3, 3) * spread

    def measured(codec: TrellisCodec | EntropyCodec) -> tuple[float, float]:
        encoded = encode_layer(weight, codec, None)
        return encoded.size_bytes, 10 * math.log10((decoded(encoded) - weight).square().sum())

    for step in (0.2, 0.5):
        size, error = measured(TrellisCodec(step))
        plain, other = measured(EntropyCodec(2 * step))
        slope = 6.02 * 8 / weight.numel()
        assert error + slope * (size - plain) < other - 0.7


def test_zeros_cost_nothing_but_the_head_and_stay_zeros() -> None:
    encoded = TrellisCodec(1.0).encode(torch.zeros(64, 1000))
    assert encoded.size_bytes <= 12
    assert not decoded(encoded).any()


def test_dead_channels_stay_dead() -> None:
    weight = normal(64, 32, 3, 3)
    weight[5], weight[:, 7] = 0, 0
    back = decoded(encode_layer(weight, TrellisCodec(0.5), None))
    assert not back[5].any()
    assert not back[:, 7].any()


OLD = struct.pack("<fB", 1.0, 8)
"""Head of a payload with two tables, as written before scales were known."""


def test_old_payloads_with_too_little_or_too_much_are_refused() -> None:
    assert not TrellisCodec.unpack(struct.pack("<fB", 1.0, 8 | 0x80) + b"\x01\x00\x10" + b"\0\0", 3, 3).any()
    with pytest.raises(ArtifactError, match="beyond its table of 0"):
        TrellisCodec.unpack(OLD + b"\x01\0\x01\0\x10" + bytes(4), 30, 3)
    with pytest.raises(ArtifactError, match="tables"):
        TrellisCodec.unpack(OLD + b"\x01\0\x09\0\x10" + bytes(4), 30, 3)
    with pytest.raises(ArtifactError, match="beyond float32"):
        TrellisCodec.unpack(struct.pack("<fB", 3e38, 8) + b"\x01\0\x01\0\x10" + bytes(4), 30, 3)
    for flags in (0, 1, 3, 9 | 0x80, 9 | 0x40, 63):
        with pytest.raises(ArtifactError, match="head"):
            TrellisCodec.unpack(struct.pack("<fB", 1.0, flags) + bytes(20), 3, 3)


def test_the_step_follows_the_capacity() -> None:
    weight = normal(32, 200)
    assert coarser(TrellisCodec(0.25, 4), 1.0) == TrellisCodec(0.5, 4)

    def encode(codecs, rate_price):
        return {name: encode_layer(weight, codec, None, rate_price=rate_price) for name, codec in codecs.items()}

    used, encoded = encode_within(encode, {"w": TrellisCodec(0.1)}, 2000)
    assert 1950 <= encoded["w"].size_bytes <= 2000
    assert used["w"].step > 0.1
