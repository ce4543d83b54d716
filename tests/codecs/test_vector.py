"""Vector quantization: what the laws of all codecs leave open."""

import pytest
import torch
from torch import Tensor

from ravn.codecs import UniformCodec, VectorCodec, nearest
from ravn.codecs.vector import VectorGrid
from ravn.errors import InputError


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def vectors_of(weight: Tensor, dimension: int) -> Tensor:
    return weight.flatten()[: weight.numel() // dimension * dimension].reshape(-1, dimension)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 8])
def test_every_vector_becomes_the_nearest_of_the_codebook(dimension: int) -> None:
    weight = normal(7, 11, 3)
    codec = VectorCodec(dimension, 3)
    grid = codec.grid(weight.reshape(7, -1))
    centroids = grid.levels[0][grid.codebook]
    assert centroids.shape == (8, dimension)
    before, after = (vectors_of(w, dimension) for w in (weight, codec.decode(codec.encode(weight))))
    least = torch.cdist(before.double(), centroids.double()).amin(1)
    torch.testing.assert_close((before - after).double().norm(dim=1), least, rtol=1e-5, atol=1e-6)


def test_a_kernel_is_as_many_weights_as_it_has_places() -> None:
    weight = normal(6, 4, 3, 3)
    assert VectorCodec("kernel", 3).encode(weight) == VectorCodec(9, 3).encode(weight)
    assert VectorCodec("kernel", 3).encode(weight[:, :, 0, 0]) == VectorCodec(1, 3).encode(weight[:, :, 0, 0])


def test_equal_channels_share_one_vector() -> None:
    weight = normal(3, 20)[torch.tensor([0, 1, 2, 2, 1, 0, 0])]
    codec = VectorCodec("channel", 2)
    encoded = codec.encode(weight)
    torch.testing.assert_close(codec.decode(encoded), weight, rtol=0, atol=float(weight.abs().max()) / 65000)
    assert encoded.size_bytes <= 7 + 4 + 2 * 3 * 20 + 2


def test_stored_bytes_are_head_codebook_and_indices() -> None:
    weight = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert VectorCodec(4, 4).encode(weight).size_bytes <= 7 + 4 + 2 * 16 * 4 + 1024 * 4 // 8


def test_dependent_weights_are_stored_better_than_one_by_one() -> None:
    angles = torch.rand(5000, generator=torch.Generator().manual_seed(0)) * 6.2832
    weight = torch.stack([angles.cos(), angles.sin()], 1)
    vector, plain = VectorCodec(2, 6), UniformCodec(3, per_channel=False)
    errors = [(c.decode(c.encode(weight)) - weight).square().mean() for c in (vector, plain)]
    assert vector.encode(weight).size_bytes <= 1.1 * plain.encode(weight).size_bytes
    assert errors[0] < errors[1] / 4


def test_the_rounding_of_single_weights_has_no_say() -> None:
    codec, weight = VectorCodec(2, 3), normal(5, 6)
    assert codec.encode(weight, rounding=lambda w, g: torch.zeros_like(nearest(w, g))) == codec.encode(weight)


@pytest.mark.parametrize("shape", [(5, 6), (5, 7)])
def test_any_choice_of_vectors_comes_back_and_no_other(shape: tuple[int, int]) -> None:
    codec, weight = VectorCodec(4, 2), normal(*shape)
    grid: VectorGrid = codec.grid(weight)
    codes = grid.codebook[torch.arange(9) % len(grid.codebook)].flatten()[: weight.numel()].reshape(shape)
    assert torch.equal(codec.unpack(codec.pack(codes, grid), *shape), grid.values(codes))
    with pytest.raises(InputError, match="vectors of the codebook"):
        codec.pack(torch.full(shape, 1), grid)


@pytest.mark.parametrize("dimension", [0, -1, 2.5, "row", None, 1 << 32])
def test_impossible_vectors_are_refused(dimension: object) -> None:
    with pytest.raises(InputError, match="impossible"):
        VectorCodec(dimension, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [0, 13, 2.5])
def test_impossible_codebooks_are_refused(bits: object) -> None:
    with pytest.raises(InputError, match="codebook"):
        VectorCodec(2, bits)  # type: ignore[arg-type]
