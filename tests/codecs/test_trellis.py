"""The trellis against exhaustive search, against Shannon, and against the equal step."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.calibration import Moments
from ravn.codecs import EntropyCodec, TrellisCodec, decoded, nearest
from ravn.codecs.dependent import PARITY_CHECKS, Quantizers, indices, multiples, predecessors, transitions
from ravn.codecs.rounding import Curvature
from ravn.codecs.tables import fitted_tables, read_tables
from ravn.codecs.viterbi import cheapest_paths, compensated_paths
from ravn.codecs.walk import LONGEST, SHORTEST, chain_length
from ravn.encoding import coarser, encode_layer, encode_within
from ravn.errors import ArtifactError, InputError

every_machine = pytest.mark.parametrize("states", PARITY_CHECKS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_lengths(quantizers: Quantizers) -> Tensor:
    counts = np.random.default_rng(0).integers(1, 100, quantizers.members.shape)
    return quantizers.lengths(counts)


@every_machine
def test_two_arrows_lead_to_every_state_and_two_away(states: int) -> None:
    following = transitions(states)
    origin, subset = predecessors(states)
    arrows = {(int(o), int(s) & 1) for o, s in zip(origin.flatten(), subset.flatten(), strict=True)}
    assert len(arrows) == 2 * states
    assert (following[origin, subset & 1] == np.arange(states)).all()
    assert (subset >> 1 == origin & 1).all()


@pytest.mark.parametrize("dead_zone", [False, True])
def test_the_quantizers_share_the_levels_and_indices_count_them(dead_zone: bool) -> None:
    levels = np.arange(-9, 12)
    members = Quantizers(-9, 11, dead_zone).members
    assert ((members[0] ^ members[1]) | (dead_zone & (levels == 0))).all()
    for quantizer, held in enumerate(members):
        index = indices(levels[held], quantizer, dead_zone=dead_zone)
        assert (np.diff(index) == 1).all()
        assert np.array_equal(multiples(index, quantizer, dead_zone=dead_zone), levels[held])


@pytest.mark.parametrize("dead_zone", [False, True])
def test_every_place_is_bracketed_by_its_neighbours_in_each_subset(dead_zone: bool) -> None:
    quantizers = Quantizers(-6, 7, dead_zone)
    for subset, (below, above) in enumerate(quantizers.brackets):
        quantizer, parity = divmod(subset, 2)
        held = np.flatnonzero(quantizers.members[quantizer] & (quantizers.parities[quantizer] == parity))
        for code in range(14):
            assert below[code] == max((h for h in held if h <= code), default=held[0])
            assert above[code] == min((h for h in held if h > code), default=held[-1])


def exhaustive(values: list[float], quantizers: Quantizers, lengths: Tensor, price: float, states: int) -> float:
    """Least cost over all sequences of levels that follow the machine."""
    following, least = transitions(states), math.inf
    for codes in itertools.product(range(quantizers.high - quantizers.low + 1), repeat=len(values)):
        state, cost = 0, 0.0
        for value, code in zip(values, codes, strict=True):
            if not quantizers.members[state & 1, code]:
                break
            cost += (value - code - quantizers.low) ** 2 + price * float(lengths[state & 1, code])
            state = following[state, quantizers.parities[state & 1, code]]
        else:
            least = min(least, cost)
    return least


def cost_of(values: Tensor, codes: Tensor, owners: Tensor, low: int, lengths: Tensor, price: float) -> Tensor:
    return ((values - codes - low).square() + price * lengths[owners.long(), codes.long()]).sum(-1)


@pytest.mark.parametrize("dead_zone", [False, True])
@pytest.mark.parametrize("states", [4, 8])
def test_no_path_is_cheaper_than_the_one_found(states: int, dead_zone: bool) -> None:
    quantizers = Quantizers(-4, 4, dead_zone)
    lengths, price = some_lengths(quantizers), 0.3
    values = normal(3, 4) * 2
    codes, owners = cheapest_paths(values, quantizers, lengths, price=price, states=states)
    found = cost_of(values, codes, owners, -4, lengths, price)
    for row, cost in zip(values.tolist(), found, strict=True):
        assert float(cost) == pytest.approx(exhaustive(row, quantizers, lengths, price, states), rel=1e-5)


@every_machine
@pytest.mark.parametrize(("rows", "stacked"), [(6, 1), (6, 2), (7, 3)])
def test_without_correlations_compensation_is_the_plain_search(states: int, rows: int, stacked: int) -> None:
    quantizers = Quantizers(-9, 9, dead_zone=False)
    lengths, columns = some_lengths(quantizers), 40
    values = normal(rows, columns) * 2
    white = Curvature(torch.eye(columns)[None], torch.arange(columns), 1.0)
    codes, owners = compensated_paths(
        values, quantizers, lengths, curvature=white, price=0.3, states=states, stacked=stacked
    )
    chains = torch.nn.functional.pad(values.flatten(), (0, -rows % stacked * columns)).reshape(-1, stacked * columns)
    plain, owned = cheapest_paths(chains, quantizers, lengths, price=0.3, states=states)
    assert torch.equal(codes.flatten(), plain.flatten()[: codes.numel()])
    assert torch.equal(owners.flatten(), owned.flatten()[: codes.numel()])


@pytest.mark.parametrize(("groups", "rows", "columns"), [(1, 12, 80), (3, 12, 20), (12, 12, 9), (2, 6, 300)])
def test_compensation_lowers_the_output_error(groups: int, rows: int, columns: int) -> None:
    inputs = normal(groups, 400, columns).cumsum(-1)
    second = inputs.mT @ inputs / 400
    moments = Moments(second, torch.zeros_like(second))
    weight = normal(rows, columns)
    codec = TrellisCodec(0.3)

    def energy(seen: Moments | None, codec: TrellisCodec | EntropyCodec = codec) -> float:
        error = (decoded(encode_layer(weight, codec, seen, rate_price=0.0)) - weight).reshape(groups, -1, columns)
        return float(((error @ second) * error).sum())

    assert energy(moments) < 0.5 * energy(None)
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


def test_a_dead_zone_is_used_where_most_weights_are_zero() -> None:
    weight = normal(64, 1024) ** 3
    codec, price = TrellisCodec(2.0), 1.6
    grid = codec.grid(weight)
    codes = codec.quantize(weight, grid, price=price)
    assert codec.pack(codes, grid)[4] & 0x40
    encoded = encode_layer(weight, EntropyCodec(4.0), None)
    size = len(codec.pack(codes, grid))
    error, plain = (float((v - weight).square().mean()) for v in (grid.values(codes), decoded(encoded)))
    assert error + price * 8 * size / weight.numel() < plain + price * 8 * encoded.size_bytes / weight.numel()


def test_zeros_cost_nothing_but_the_head() -> None:
    assert TrellisCodec(1.0).encode(torch.zeros(64, 1000)).size_bytes <= 10


def test_codes_that_leave_the_trellis_are_refused() -> None:
    codec, weight = TrellisCodec(0.5), normal(8, 40)
    with pytest.raises(InputError, match="trellis"):
        codec.encode(weight, rounding=nearest)


@pytest.mark.parametrize("centred", [(True, True), (True, False)])
@pytest.mark.parametrize("skew", [1, 5])
def test_tables_come_back_and_are_halved_where_signs_are_alike(centred: tuple[bool, bool], skew: int) -> None:
    counts = [np.array([4, 9 * skew, 30, 9, 4]) * 1000, np.array([5, 20 * skew, 20, 5]) * 1000]
    starts = [-2, -2]
    if centred[1]:
        counts[1] = np.array([5, 20 * skew, 50, 20, 5]) * 1000
    tables = fitted_tables(counts, starts, centred)
    assert tables.symmetric == (skew == 1)
    assert read_tables(tables.stored + b"tail", centred, symmetric=tables.symmetric) == tables
    assert tables.lows == (-2, -2)
    for cut in range(len(tables.stored)):
        with pytest.raises(ArtifactError, match="tables"):
            read_tables(tables.stored[:cut], centred, symmetric=tables.symmetric)


def test_a_walk_into_a_quantizer_without_a_table_is_refused() -> None:
    table = b"\x01\x00\x10"
    payload = bytes([0, 0, 128, 63, 8 | 0x80]) + table + b"\0\0"
    assert not TrellisCodec.unpack(payload, 3, 3).any()
    with pytest.raises(ArtifactError, match="beyond its table of 0"):
        TrellisCodec.unpack(bytes([0, 0, 128, 63, 8]) + b"\x01\0\x01\0\x10" + bytes(4), 30, 3)


def test_the_step_follows_the_capacity() -> None:
    weight = normal(32, 200)
    assert coarser(TrellisCodec(0.25, 4), 1.0) == TrellisCodec(0.5, 4)

    def encode(codecs, rate_price):
        return {name: encode_layer(weight, codec, None, rate_price=rate_price) for name, codec in codecs.items()}

    used, encoded = encode_within(encode, {"w": TrellisCodec(0.1)}, 2000)
    assert 1950 <= encoded["w"].size_bytes <= 2000
    assert used["w"].step > 0.1
