"""Fixed-length codes and tables of numbers."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.codecs.packing import pack_bits, pack_numbers, stored_numbers, unpack_bits, unpack_numbers
from ravn.errors import ArtifactError


@given(st.integers(1, 16), st.data())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_codes_come_back_from_the_fewest_bytes(bits: int, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40)), np.int64)
    packed = pack_bits(codes, bits)
    assert len(packed) == (len(codes) * bits + 7) // 8
    assert np.array_equal(unpack_bits(packed, bits, len(codes)), codes)


def test_the_most_significant_bit_comes_first() -> None:
    assert pack_bits(np.array([0b101, 0b001, 0b111]), 3) == bytes([0b10100111, 0b10000000])


@pytest.mark.parametrize("data", [b"", b"\0\0\0"])
def test_a_wrong_number_of_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="3 codes of 4 bits"):
        unpack_bits(data, 4, 3)


NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)


@given(NUMBERS)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_numbers_keep_sixteen_bits_of_the_largest(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    packed = pack_numbers(numbers)
    stored = unpack_numbers(packed, len(numbers))
    largest = np.abs(numbers).max().astype(np.float64)
    assert len(packed) == 4 + 2 * len(numbers)
    assert np.abs(stored - numbers.astype(np.float64)).max() <= largest / 65534 * 1.001 + 2**-149
    assert np.abs(stored).max() == largest
    assert np.array_equal(stored_numbers(stored), stored)
    assert np.array_equal(stored, stored_numbers(numbers))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<fh", 1.0, 5),
        struct.pack("<fhh", float("nan"), 1, 2),
        struct.pack("<fhh", float("inf"), 1, 2),
        struct.pack("<fhh", -1.0, 1, 2),
        struct.pack("<fhh", 3.4e38, 1, -32768),
    ],
)
def test_tables_that_were_never_written_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        unpack_numbers(data, 2)
