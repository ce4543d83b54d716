"""The choices of a layer: ordered, priced as they are stored, and on the grid of the codec that stores them."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.codecs import EntropyCodec, decoded
from ravn.runtime import fixed_rate, unpacked
from ravn.runtime.stages import PLANE_BITS, pieces
from ravn.scoring.options import (
    STEP_EXPONENTS,
    Options,
    cluster_options,
    codebook_options,
    entropy_bytes,
    layer_options,
)
from slow_moments import input_moments


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.2


@cache
def clustered_gaussian(seed: int) -> tuple[Tensor, Options]:
    """A weight, and its options in four clusters."""
    weight = gaussian(16, 12, 3, 3, seed=seed)
    return weight, cluster_options("w", weight, 4, ())


def assert_ordered(options: Options) -> None:
    for unit in options.units:
        sizes = [choice.size_bytes for choice in unit.choices]
        assert sizes == sorted(set(sizes))
        assert all(math.isfinite(choice.distortion) and choice.distortion >= 0 for choice in unit.choices)
        assert unit.choices[-1].distortion <= unit.choices[0].distortion


@pytest.mark.parametrize("name", ["0.weight", "3.weight", "6.weight"])
@pytest.mark.parametrize("compensated", [True, False])
@pytest.mark.parametrize("step", [0.003, 0.05, 0.4, 5.0])
def test_layers_have_choices_of_strictly_increasing_size(network, images, name, compensated, step):
    weight = network.get_parameter(name)
    moments = input_moments(network, network, name, images) if compensated else None
    options = layer_options(name, weight, moments, step, (1.0,))
    assert_ordered(options)
    assert options.units[0].weights == weight.numel()
    assert len(options.codecs) == len(options.weights) == len(options.units[0].choices) <= len(STEP_EXPONENTS)


@pytest.mark.parametrize("compensated", [True, False])
def test_the_weights_of_a_layer_lie_on_the_grid_of_the_codec_that_stores_them(network, images, compensated):
    weight = network.get_parameter("3.weight")
    moments = input_moments(network, network, "3.weight", images) if compensated else None
    options = layer_options("3.weight", weight, moments, 0.05, ())
    for choice, codec in enumerate(options.codecs):
        chosen = options.weight((choice,))
        assert options.codec((choice,)) is codec
        assert chosen.shape == weight.shape
        torch.testing.assert_close(decoded(codec.encode(chosen)), chosen, rtol=0, atol=0)


def test_finer_steps_come_nearer_to_the_weight():
    weight = gaussian(16, 30)
    options = layer_options("w", weight, None, 0.1, ())
    errors = [float((options.weight((i,)) - weight).square().sum()) for i in range(len(options.codecs))]
    assert errors == sorted(errors, reverse=True)
    assert [c.distortion for c in options.units[0].choices] == pytest.approx(
        [e / float(weight.square().sum()) for e in errors], rel=1e-5
    )


@pytest.mark.parametrize("step", [0.02, 0.1, 0.3])
def test_the_size_of_a_layers_choice_is_nearly_what_its_codec_writes(step):
    weight = gaussian(32, 64)
    options = layer_options("w", weight, None, step, ())
    for choice, (codec, described) in enumerate(zip(options.codecs, options.units[0].choices, strict=True)):
        stored = codec.encode(options.weight((choice,))).size_bytes
        assert described.size_bytes == pytest.approx(stored, rel=0.02, abs=12)
        assert described.bits == pytest.approx(8 * described.size_bytes / weight.numel())


@pytest.mark.parametrize("bits", range(1, 9))
def test_equally_frequent_codes_take_their_logarithm_and_a_table(bits):
    codes = torch.arange(1 << bits).repeat(40) + 5
    assert entropy_bytes(codes) == 40 * (1 << bits) * bits // 8 + (1 << bits) + 10


def test_codes_that_are_all_alike_take_no_bits():
    assert entropy_bytes(torch.full((1000,), 7)) == entropy_bytes(torch.tensor([0])) == 11


@pytest.mark.parametrize("clusters", [1, 2, 3, 8])
def test_the_clusters_of_a_layer_partition_it(clusters):
    weight = gaussian(8, 4, 3, 3)
    options = cluster_options("w", weight, clusters, (1.0, 2.0))
    assert_ordered(options)
    assert len(options.units) == clusters
    assert options.owner.shape == weight.shape
    assert [u.weights for u in options.units] == torch.bincount(options.owner.flatten()).tolist()
    tops = [float(weight[options.owner == m].max()) for m in range(clusters)]
    bottoms = [float(weight[options.owner == m].min()) for m in range(clusters)]
    assert all(top <= bottom for top, bottom in zip(tops, bottoms[1:], strict=False))


@pytest.mark.parametrize("clusters", [1, 3, 8])
def test_the_same_bits_in_all_clusters_are_exactly_what_the_file_gives_back(clusters):
    weight = gaussian(8, 4, 3, 3, seed=1)
    options = cluster_options("w", weight, clusters, ())
    for choice in range(9):
        choices = (choice,) * clusters
        codec = options.codec(choices)
        assert codec.bits == choices
        assert torch.equal(options.weight(choices), decoded(codec.encode(weight)))


@given(bits=st.lists(st.integers(0, 8), min_size=4, max_size=4), seed=st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_mixed_bits_are_what_the_file_gives_back_but_for_its_16_bit_level_ends(bits, seed):
    # All ends of a file share one scale, which depends on the bits of all clusters.
    weight, options = clustered_gaussian(seed)
    scored, stored = options.weight(bits), decoded(options.codec(bits).encode(weight))
    resolution = float(weight.abs().max()) / 32767
    torch.testing.assert_close((scored - weight).abs(), (stored - weight).abs(), rtol=0, atol=1.01 * resolution)
    assert ((scored - stored).abs() <= 1.01 * resolution).float().mean() > 0.99


@given(bits=st.lists(st.integers(0, 4), min_size=4, max_size=4), seed=st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_the_sizes_of_clusters_add_up_to_nearly_what_is_stored(bits, seed):
    weight, options = clustered_gaussian(seed)
    described = options.base_bytes + sum(u.choices[b].size_bytes for u, b in zip(options.units, bits, strict=True))
    stored = options.codec(bits).encode(weight).size_bytes
    assert 0.85 * stored <= described <= 1.45 * stored


def test_a_clusters_choice_changes_its_own_weights_and_at_most_its_neighbours_at_the_border():
    weight = gaussian(6, 50)
    options = cluster_options("w", weight, 3, ())
    before, after = options.weight((2, 2, 2)), options.weight((2, 5, 2))
    elsewhere = (before != after) & (options.owner != 1)
    # A neighbour's weight at the border may go over to a finer level, and to no other.
    assert ((after - weight).abs()[elsewhere] < (before - weight).abs()[elsewhere]).all()
    assert (before != after)[options.owner == 1].float().mean() > 0.9


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(4, 5),
        torch.full((4, 5), 0.25),
        torch.tensor([[1.0, -1.0], [1.0, -1.0]]),
        torch.tensor([[0.5]]),
        torch.from_numpy(np.nextafter(np.float32(1), np.float32([[2, 0], [2, 1]]))),
    ],
)
def test_weights_with_few_values_have_choices_too(weight):
    clustered = cluster_options("w", weight, 8, ())
    assert_ordered(clustered)
    assert sum(unit.weights for unit in clustered.units) == weight.numel()
    finest = tuple(len(unit.choices) - 1 for unit in clustered.units)
    torch.testing.assert_close(clustered.weight(finest), weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(decoded(clustered.codec(finest).encode(weight)), weight, rtol=1e-4, atol=1e-6)
    assert_ordered(layer_options("w", weight, None, 0.1, ()))


def test_fineness_means_the_same_step_in_every_layer_and_the_same_bits_in_every_cluster():
    quiet, loud = (layer_options("w", gaussian(16, 40) * scale, None, 0.1, ()) for scale in (0.2, 2.0))
    assert len(quiet.codecs) < len(loud.codecs), "the quiet layer should lack the coarsest choices"
    for options in (quiet, loud):
        (row,) = options.fineness()
        assert row == sorted(row)
        assert [0.1 * 2.0**-level for level in row] == pytest.approx([c.step for c in options.codecs])
        assert all(isinstance(c, EntropyCodec) for c in options.codecs)
    assert set(quiet.fineness()[0]) < set(loud.fineness()[0])
    assert cluster_options("w", gaussian(32, 64), 3, ()).fineness() == [list(map(float, range(9)))] * 3


def test_codebooks_are_counted_in_codes_of_fixed_length() -> None:
    weight = gaussian(16, 90).reshape(16, 10, 3, 3)
    options = codebook_options("w", weight, None, ())
    (unit,) = options.units
    assert_ordered(options)
    assert options.fineness() == [[float(codec.bits) for codec in options.codecs]]
    for codec, choice, quantized in zip(options.codecs, unit.choices, options.weights, strict=True):
        form = fixed_rate(codec.encode(weight))
        assert form is not None
        assert torch.equal(unpacked(form), quantized)
        assert len(quantized.unique()) <= 2**codec.bits
        # Wider codes are taken where that saves a plane and costs less than one.
        most = codec.bits * weight.numel() / 8 + PLANE_BITS / 8 * (len(pieces(codec.bits)) - 1)
        assert form.size_bytes <= choice.size_bytes <= most + 4 * 2**codec.bits + 8
