"""The codec of the paper: k-means cells (Eq. 1) with bit-widths of their own (Eq. 2)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ravn.codecs import ClusterCodec, EntropyCodec, UniformCodec
from ravn.codecs.kmeans import boundaries, kmeans
from ravn.errors import ArtifactError, InputError


@pytest.fixture(scope="module")
def gaussian() -> Tensor:
    return torch.randn(1 << 14, generator=torch.Generator().manual_seed(0))


def squared_error(codec: ClusterCodec | EntropyCodec | UniformCodec, weight: Tensor) -> float:
    return float((codec.decode(codec.encode(weight)) - weight).square().mean())


@pytest.mark.parametrize("bits", [(2, 0, 3), (0, 0, 0, 0), (1, 2, 3, 4, 5), (8,), (3,) * 8])
def test_a_cluster_has_two_to_the_bits_equally_spaced_positions(gaussian: Tensor, bits: tuple[int, ...]) -> None:
    levels = ClusterCodec(bits).grid(gaussian[None]).levels[0]
    owner = torch.bucketize(gaussian, boundaries(kmeans(gaussian, len(bits))))
    resolution = float(gaussian.abs().max()) / 32767
    assert len(levels) == sum(2**b for b in bits)
    for m, (b, positions) in enumerate(zip(bits, levels.split([2**b for b in bits]), strict=True)):
        members = gaussian[owner == m]
        step = float(members.max() - members.min()) / 2**b
        expected = members.min() + step * (torch.arange(2**b) + 0.5) if b else members.mean()[None]
        torch.testing.assert_close(positions, expected, rtol=0, atol=resolution)


@pytest.mark.parametrize("bits", range(8))
def test_a_bit_halves_the_worst_error_of_its_cluster(gaussian: Tensor, bits: int) -> None:
    owner = torch.bucketize(gaussian, boundaries(kmeans(gaussian, 3)))
    codec = ClusterCodec((0, bits, 8))
    error = (codec.decode(codec.encode(gaussian)) - gaussian).abs()[owner == 1].max()
    members = gaussian[owner == 1]
    assert error <= (members.max() - members.min()) / 2 ** (bits + 1) * (1.1 if bits else 2) + 1e-4


@pytest.mark.parametrize("cluster", range(4))
def test_more_bits_never_increase_the_error_of_a_dense_cluster(gaussian: Tensor, cluster: int) -> None:
    owner = torch.bucketize(gaussian, boundaries(kmeans(gaussian, 4)))
    errors = []
    for bits in range(7):
        codec = ClusterCodec(tuple(bits if m == cluster else 4 for m in range(4)))
        errors.append(float((codec.decode(codec.encode(gaussian)) - gaussian)[owner == cluster].square().sum()))
    assert errors == sorted(errors, reverse=True)


def test_strictness_demands_different_widths() -> None:
    assert ClusterCodec((2, 3, 4), strict=True).strict
    assert ClusterCodec((2, 3, 2)).bits == (2, 3, 2)
    with pytest.raises(InputError, match="repeat a width"):
        ClusterCodec((2, 3, 2), strict=True)


@pytest.mark.parametrize(
    ("uniform", "inner", "outer"), [(3, 0, 0), (3, 0, 2), (4, 1, 3), (5, 2, 4)], ids=lambda bits: str(bits)
)
def test_eight_clusters_beat_plain_quantization_at_its_bytes(
    gaussian: Tensor, uniform: int, inner: int, outer: int
) -> None:
    ours, plain = ClusterCodec((outer, *[inner] * 6, outer)), UniformCodec(uniform, per_channel=False)
    assert ours.encode(gaussian).size_bytes <= plain.encode(gaussian).size_bytes
    assert squared_error(ours, gaussian) < 0.95 * squared_error(plain, gaussian)


def test_equal_cells_are_entropy_coding_with_an_equal_step() -> None:
    weight = torch.rand(1 << 14, generator=torch.Generator().manual_seed(0)) * 2 - 1
    cells, steps = ClusterCodec((2, 2, 2, 2)), EntropyCodec(1 / 8)
    assert squared_error(cells, weight) == pytest.approx(squared_error(steps, weight), rel=0.02)
    assert cells.encode(weight).size_bytes == pytest.approx(steps.encode(weight).size_bytes, rel=0.02)


def test_a_cluster_more_than_there_are_values_is_left_out() -> None:
    codec = ClusterCodec((1, 0, 5, 7))
    encoded = codec.encode(torch.tensor([1.0, -1.0, 1.0]))
    assert encoded.payload[0] & 0x7F == 2
    assert codec.decode(encoded).tolist() == [1, -1, 1]


def test_fixed_length_positions_are_used_where_tables_cost_more() -> None:
    few = torch.randn(300, generator=torch.Generator().manual_seed(0))
    codec = ClusterCodec((8, 8, 8))
    encoded = codec.encode(few)
    assert not encoded.payload[0] & 0x80
    assert encoded.size_bytes < 300 * (8 + 1.6) / 8 + 40
    assert codec.encode(few.repeat(100)).payload[0] & 0x80


def test_codes_of_fixed_length_take_just_that_and_hold_nothing_else() -> None:
    weight = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    codec = ClusterCodec((2, 0, 3), entropy_coded=False)
    encoded = codec.encode(weight)
    assert encoded.size_bytes == 2 + 3 + 4 + 2 * 5 + 40 * 50 * 4 // 8
    assert torch.equal(codec.decode(encoded), ClusterCodec((2, 0, 3)).decode(ClusterCodec((2, 0, 3)).encode(weight)))
    beyond = replace(encoded, payload=encoded.payload[:-1] + b"\xff")
    with pytest.raises(ArtifactError, match="beyond its 13 levels"):
        codec.decode(beyond)
