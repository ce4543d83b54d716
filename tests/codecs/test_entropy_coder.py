"""The entropy coder against the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ravn.codecs.entropy_coder import MAX_SYMBOLS, code_lengths, decode_symbols, encode_symbols, frequency_table
from ravn.errors import ArtifactError

Ints = NDArray[np.int64]


@given(st.binary(min_size=1, max_size=40), st.data())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_symbols_come_back_under_any_table(table: bytes, data: st.DataObject) -> None:
    symbols = np.array(data.draw(st.lists(st.integers(0, len(table) - 1), max_size=60)), np.int32)
    stream = encode_symbols(symbols, table)
    assert np.array_equal(decode_symbols(stream, table, len(symbols), size=len(table)), symbols)


def sampled(size: int, count: int, concentration: float) -> Ints:
    generator = np.random.default_rng(size)
    return generator.choice(size, count, p=generator.dirichlet([concentration] * size))


@pytest.mark.parametrize("size", [2, 3, 20, 300, 3000])
@pytest.mark.parametrize("count", [1, 10, 1000, 100_000])
@pytest.mark.parametrize("concentration", [0.02, 1.0, 50.0])
def test_a_stream_is_as_long_as_its_cross_entropy(size: int, count: int, concentration: float) -> None:
    symbols = sampled(size, count, concentration)
    table = frequency_table(np.bincount(symbols, minlength=size))
    stream = encode_symbols(symbols.astype(np.int32), table)
    assert 8 * len(stream) <= code_lengths(table)[symbols].sum() + 64 + 0.001 * count
    assert np.array_equal(decode_symbols(stream, table, count, size=size), symbols)


@given(st.lists(st.integers(0, 10**6) | st.integers(0, 30), min_size=1, max_size=40).filter(any))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_one_byte_per_symbol_is_table_enough(counts: list[int]) -> None:
    shares = np.array(counts) / sum(counts)
    used = shares > 0
    entropy = -(shares[used] * np.log2(shares[used])).sum()
    assert 0 <= (shares * code_lengths(frequency_table(np.array(counts)))).sum() - entropy + 1e-9 < 0.002


@given(st.binary(min_size=1, max_size=300))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_lengths_fill_the_kraft_inequality(table: bytes) -> None:
    assert np.exp2(-code_lengths(table)).sum() == pytest.approx(1)


def test_a_constant_costs_nothing() -> None:
    assert encode_symbols(np.zeros(100_000, np.int32), frequency_table(np.array([100_000]))) == b""
    assert not decode_symbols(b"", b"\0", 100_000, size=1).any()


def test_the_largest_alphabet_works() -> None:
    symbols = np.random.default_rng(0).integers(0, MAX_SYMBOLS, 1000).astype(np.int32)
    table = frequency_table(np.bincount(symbols, minlength=MAX_SYMBOLS))
    assert np.array_equal(decode_symbols(encode_symbols(symbols, table), table, 1000, size=MAX_SYMBOLS), symbols)


TABLE = frequency_table(np.array([5, 3, 1]))
STREAM = encode_symbols(np.array([0, 1, 2, 0, 0, 1] * 9, np.int32), TABLE)


@pytest.mark.parametrize(
    ("stream", "table", "count", "size", "message"),
    [
        (STREAM + b"\1\0\0\0", TABLE, 54, 3, "more than its 54"),
        (STREAM, TABLE, 53, 3, "more than its 53"),
        (STREAM + bytes(4), TABLE, 54, 3, "zero word"),
        (STREAM[:-1], TABLE, 54, 3, "whole number of words"),
        (STREAM, TABLE[:2], 54, 3, "a table of 2 symbols"),
        (STREAM, b"", 54, 0, "a table of 0 symbols"),
        (encode_symbols(np.array([0, 1], np.int32), b"\xff\0"), b"\xff", 2, 1, "beyond its table of 1"),
    ],
)
def test_what_no_encoder_writes_is_refused(stream: bytes, table: bytes, count: int, size: int, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        decode_symbols(stream, table, count, size=size)


@given(st.binary(max_size=64), st.binary(max_size=8), st.integers(1, 20))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_random_bytes_decode_to_symbols_or_are_refused(stream: bytes, table: bytes, count: int) -> None:
    try:
        symbols = decode_symbols(stream, table, count, size=len(table))
    except ArtifactError:
        return
    assert symbols.shape == (count,)
    assert 0 <= symbols.min() <= symbols.max() < len(table)
