"""Payloads of the first trellis format, written by a slow encoder that knows its description alone."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.codecs.dependent import PARITY_CHECKS, chain_length, transitions
from ravn.codecs.entropy_coder import encode_pieces
from ravn.codecs.two_tables import unpack_two_tables
from ravn.errors import ArtifactError

SHAPES = [(1, 1), (3, 7), (5, 100), (2, 300), (1, 1030), (40, 13)]
"""One chain and several, whole and cut."""

STEP = 0.37
Table = tuple[int, bytes]


def tables(generator: np.random.Generator, *, symmetric: bool, dead_zone: bool) -> tuple[list[Table], bytes]:
    """Lowest index and frequencies of both quantizers, and how they are stored."""
    found, stored = [], b""
    for zero in (True, dead_zone):
        half = generator.integers(0, 120, generator.integers(1, 9)).astype(np.uint8).tolist()
        if symmetric:
            magnitudes = half[1:] if zero else half
            whole = bytes([*reversed(magnitudes), *half])
            found.append((-len(magnitudes), whole))
            stored += struct.pack("<H", len(half)) + bytes(half)
        else:
            low = int(generator.integers(-6, 4))
            found.append((low, bytes(half)))
            stored += struct.pack("<hH", low, len(half)) + bytes(half)
    return found, stored


def level(quantizer: int, index: int, *, dead_zone: bool) -> int:
    """The level of an index, in steps."""
    if quantizer == 0:
        return 2 * index
    return 2 * index - (index > 0) + (index < 0) if dead_zone else 2 * index + 1


def written(
    generator: np.random.Generator, rows: int, columns: int, found: list[Table], *, states: int, dead_zone: bool
) -> tuple[bytes, list[int]]:
    """A stream of random indices, chain by chain, and their levels."""
    count, length, following = rows * columns, chain_length(rows, columns), transitions(states)
    levels, asked, state = [], {}, 0
    for place in range(count):
        chain, time = divmod(place, length)
        state = 0 if time == 0 else state
        quantizer = int(state & 1)
        low, frequencies = found[quantizer]
        symbol = int(generator.integers(len(frequencies)))
        levels.append(level(quantizer, low + symbol, dead_zone=dead_zone))
        asked.setdefault((time, quantizer), []).append((chain, symbol))
        state = following[state, (low + symbol) % 2]
    pieces = [(key[1], np.array([s for _, s in sorted(asked[key])], np.int32)) for key in sorted(asked)]
    return encode_pieces(reversed(pieces), [frequencies for _, frequencies in found]), levels


@given(
    st.sampled_from(SHAPES), st.sampled_from(list(PARITY_CHECKS)), st.booleans(), st.booleans(), st.integers(0, 10**6)
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_every_payload_of_the_format_is_read(
    shape: tuple[int, int], states: int, symmetric: bool, dead_zone: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    found, stored = tables(generator, symmetric=symmetric, dead_zone=dead_zone)
    stream, levels = written(generator, *shape, found, states=states, dead_zone=dead_zone)
    form = {"step": STEP, "states": states, "symmetric": symmetric, "dead_zone": dead_zone}
    weight = unpack_two_tables(stored + stream, *shape, **form)
    expected = (np.array(levels, np.float64) * STEP).astype(np.float32).reshape(shape)
    assert torch.equal(weight, torch.from_numpy(expected))
    with pytest.raises(ArtifactError):
        unpack_two_tables(stored + stream + b"\1\0\0\0", *shape, **form)
    for cut in range(len(stored)):
        with pytest.raises(ArtifactError):
            unpack_two_tables(stored[:cut], *shape, **form)


@pytest.mark.parametrize("symmetric", [False, True])
def test_levels_beyond_float32_are_refused_and_the_largest_is_not(symmetric: bool) -> None:
    form = {"states": 4, "symmetric": symmetric, "dead_zone": False}
    size = struct.pack("<H", 2) + b"\x10\x10" if symmetric else struct.pack("<hH", 1, 1) + b"\x10"
    last = struct.pack("<H", 0) if symmetric else struct.pack("<hH", 0, 0)
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(ArtifactError, match="beyond float32"):
        unpack_two_tables(size + last, 1, 1, step=largest / 1.9, **form)
    if not symmetric:
        weight = unpack_two_tables(size + last, 1, 1, step=largest / 2, **form)
        assert weight.item() == largest
