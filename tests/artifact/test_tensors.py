"""How uncoded tensors are stored: the documented error, exact integers, few bytes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.artifact.tensors import DTYPES, FLOOR, RELATIVE, pack_tensors, unpack_tensors
from ravn.errors import ArtifactError, InputError

FLOAT_VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def round_trip(tensor: Tensor, name: str = "x") -> Tensor:
    table, stream = pack_tensors({name: tensor})
    return unpack_tensors(table, stream, max_elements=1 << 20)[name]


def stored(tensor: Tensor, name: str = "x") -> str:
    how: str = pack_tensors({name: tensor})[0]["stored"][0]
    return how


@given(st.lists(FLOAT_VALUES, min_size=1, max_size=20), st.sampled_from(["float32", "float64"]))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_the_error_of_floats_is_as_documented(values: list[float], dtype: str) -> None:
    tensor = torch.tensor(values, dtype=DTYPES[dtype])
    back = round_trip(tensor)
    assert back.dtype == tensor.dtype
    exact = tensor.double()
    allowed = torch.maximum(exact.abs() * RELATIVE, exact.abs().max() * FLOOR)
    assert ((back.double() - exact).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"float32", "float64"}))
def test_narrow_floats_and_integers_are_exact(dtype: str) -> None:
    tensor = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).mul(100)
    tensor = (tensor > 0) if dtype == "bool" else tensor.to(DTYPES[dtype])
    back = round_trip(tensor)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)


@pytest.mark.parametrize(
    ("tensor", "how"),
    [
        (torch.zeros(100), "zero"),
        (torch.full((10, 10), 1 - 1e-5), "constant"),
        (torch.tensor(3), "constant"),
        (torch.tensor([[math.inf, 0.0]]), "exact"),
        (torch.tensor([math.nan, 0.0], dtype=torch.float64), "exact"),
        (torch.tensor([1.0, 2.5]), "float16"),
        (torch.tensor([1e6, 1.0]), "exact"),
        (torch.tensor([1e-6, 1.1e-6]), "exact"),
        (torch.tensor([1e6, 1.1], dtype=torch.float64), "float32"),
        (torch.tensor([1e300, 1.1], dtype=torch.float64), "exact"),
        (torch.zeros(0, 3), "zero"),
        (torch.tensor([0.0, -0.0]), "float16"),
    ],
)
def test_how_a_tensor_is_stored(tensor: Tensor, how: str) -> None:
    assert stored(tensor) == how
    torch.testing.assert_close(round_trip(tensor), tensor, rtol=2**-11, atol=0, equal_nan=True)


def test_constants_are_exact() -> None:
    assert torch.equal(round_trip(torch.full((7,), 0.1)), torch.full((7,), 0.1))


def test_counters_are_dropped_to_zero() -> None:
    back = round_trip(torch.tensor(78_200), "bn1.num_batches_tracked")
    assert back.dtype == torch.int64
    assert back.shape == ()
    assert back == 0


def test_restored_tensors_own_their_memory() -> None:
    table, stream = pack_tensors({"a": torch.ones(4), "b": torch.arange(4.0)})
    tensors = unpack_tensors(table, stream, max_elements=8)
    tensors["a"][0] = 5
    tensors["b"][0] = 5
    assert tensors["a"].tolist() == [5, 1, 1, 1]


def test_non_contiguous_tensors_are_stored_in_their_order() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(round_trip(tensor), tensor)


def test_foreign_dtypes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'x' is a .* tensor of complex64"):
        pack_tensors({"x": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(InputError, match=r"'x' is a torch\.sparse"):
        pack_tensors({"x": torch.eye(2).to_sparse()})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("shape", [[3]]),
        ("shape", [[-2]]),
        ("shape", [[2.0]]),
        ("shape", [[True, 2]]),
        ("shape", [2]),
        ("shape", [[1] * 40]),
        ("shape", [[0, 1 << 62, 1 << 62]]),
        ("shape", [[1 << 40]]),
        ("shape", []),
        ("dtype", ["complex64"]),
        ("dtype", [None]),
        ("dtype", ["int64"]),
        ("stored", ["float64"]),
        ("stored", [[]]),
        ("stored", ["exact"]),
        ("run", [0]),
        ("run", [2]),
        ("run", ["1"]),
        ("run", [True]),
        ("prefix", [3]),
        ("name", []),
        ("name", "x"),
        ("name", ["x", "x"]),
    ],
)
def test_lying_tables_are_refused(column: str, value: object) -> None:
    table, stream = pack_tensors({"x": torch.tensor([1.0, 2.0])})
    with pytest.raises(ArtifactError):
        unpack_tensors(table | {column: value}, stream, max_elements=1000)


def test_a_truth_value_is_zero_or_one() -> None:
    table, stream = pack_tensors({"x": torch.tensor([2, 1], dtype=torch.uint8)})
    with pytest.raises(ArtifactError, match="truth value"):
        unpack_tensors(table | {"dtype": ["bool"]}, stream, max_elements=8)
