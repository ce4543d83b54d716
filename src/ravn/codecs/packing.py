"""Fixed-length codes and small tables of numbers as bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravn.errors import ArtifactError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_FULL = 32767
_CHUNK = 1 << 16
_WIDEST_FIELD = 14
"""Looking several codes up at once takes a table of 2^14 entries at most, which fits a second-level cache."""


def pack_bits(codes: NDArray[np.integer], bits: int) -> bytes:
    """Write codes in 0..2^bits-1, shape (n,), in ceil(n * bits / 8) bytes, most significant bit first."""
    return b"".join(_packed(codes[at : at + _CHUNK], bits) for at in range(0, len(codes), _CHUNK))


def unpack_bits(data: bytes, bits: int, count: int) -> Ints:
    """Read what `pack_bits` wrote.

    Raises:
        ArtifactError: the number of bytes is wrong.
    """
    return unpack_levels(data, np.arange(1 << bits, dtype=np.uint16), count).astype(np.int64)


def unpack_levels(data: bytes, levels: NDArray[Any], count: int) -> NDArray[Any]:
    """Levels of the codes that `pack_bits` wrote: `levels[unpack_bits(data, bits, count)]`.

    Args:
        data: what `pack_bits` wrote.
        levels: one for each of the 2^bits codes, 1 to 16 bits.
        count: number of codes.

    Raises:
        ArtifactError: the number of bytes is wrong.
    """
    bits = len(levels).bit_length() - 1
    if len(data) != -(-count * bits // 8):
        raise ArtifactError(f"{count} codes of {bits} bits don't take {len(data)} bytes")
    table, together = _tuples(levels, bits)
    raw = np.frombuffer(data, np.uint8)
    result = np.empty(-(-count // 8) * 8, levels.dtype)
    fields = result.view(table.dtype)
    for at in range(0, len(result), _CHUNK):
        part = _fields(raw[at // 8 * bits : (at + _CHUNK) // 8 * bits], bits, together)
        out = fields[at // together : at // together + len(part)]
        # Every field is an index of the table; saying what to do otherwise spares numpy a buffer.
        table.take(part, out=out, mode="clip")
    return result[:count]


def look_up(levels: NDArray[Any], codes: NDArray[np.integer]) -> NDArray[Any]:
    """The array `levels[codes]`, without widening all codes to 64 bits at once."""
    values = np.empty(len(codes), levels.dtype)
    for at in range(0, len(codes), _CHUNK):
        values[at : at + _CHUNK] = levels[codes[at : at + _CHUNK]]
    return values


def pack_numbers(numbers: Floats) -> bytes:
    """Write numbers, shape (n,), as their largest magnitude (float32) and 16 bits each: 4 + 2n bytes."""
    scale = np.float32(np.abs(numbers).max(initial=0))
    shares = np.round(numbers / (scale or 1) * _FULL).astype("<i2")
    return scale.astype("<f4").tobytes() + shares.tobytes()


def unpack_numbers(data: bytes, count: int) -> Floats:
    """Read what `pack_numbers` wrote from the front of `data`.

    Raises:
        ArtifactError: the bytes are too few, or the magnitude is not finite.
    """
    if len(data) < 4 + 2 * count:
        raise ArtifactError(f"{count} numbers don't fit into {len(data)} bytes")
    scale = np.frombuffer(data, "<f4", 1)[0]
    if not (np.isfinite(scale) and scale >= 0):
        raise ArtifactError("a table of numbers has a magnitude that is not finite")
    shares = np.frombuffer(data, "<i2", count, 4)
    if shares.min(initial=0) < -_FULL:
        raise ArtifactError("a table of numbers has one beyond its magnitude")
    numbers: Floats = (shares.astype(np.float64) / _FULL * np.float64(scale)).astype(np.float32)
    return numbers


def stored_numbers(numbers: Floats) -> Floats:
    """What `unpack_numbers` will give back."""
    return unpack_numbers(pack_numbers(numbers), len(numbers))


def _packed(codes: NDArray[np.integer], bits: int) -> bytes:
    if bits > 8:
        planes = codes[:, None] >> np.arange(bits - 1, -1, -1) & 1
        return np.packbits(planes.astype(np.uint8)).tobytes()
    words: NDArray[Any] = np.zeros(-(-len(codes) // 8) * 8, np.uint8)
    words[: len(codes)] = codes
    if bits < 8:
        for width, wider in ((bits, np.uint16), (2 * bits, np.uint32), (4 * bits, np.uint64)):
            words = np.left_shift(words[::2].astype(wider), width) | words[1::2]
        words = words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - bits :]
    return words.tobytes()[: -(-len(codes) * bits // 8)]


def _tuples(levels: NDArray[Any], bits: int) -> tuple[NDArray[np.void], int]:
    """Levels of all tuples of as many codes as a field may hold, each tuple as one element."""
    together = 1
    while 2 * together * bits <= _WIDEST_FIELD:
        together *= 2
    places = np.arange(1 << together * bits)[:, None] >> bits * np.arange(together - 1, -1, -1)
    tuples = np.ascontiguousarray(levels[places & ((1 << bits) - 1)])
    return tuples.view(np.dtype((np.void, tuples.itemsize * together)))[:, 0], together


def _fields(raw: NDArray[np.uint8], bits: int, together: int) -> NDArray[np.integer]:
    """Fields of `together` codes each, from the bytes of whole groups of eight codes; the last group may be cut."""
    width = bits * together
    if width == 8:
        return raw
    groups = -(-len(raw) // bits)
    if bits > 8:
        padded = np.zeros(groups * bits, np.uint8)
        padded[: len(raw)] = raw
        planes = np.unpackbits(padded).reshape(-1, bits)
        return planes @ (1 << np.arange(bits - 1, -1, -1))
    padded = np.zeros((groups - 1) * bits + 8, np.uint8)
    padded[: len(raw)] = raw
    words = np.ndarray(groups, ">u8", padded, strides=(bits,)).astype(np.uint64)
    shifts = np.arange(64 - width, 63 - 8 * bits, -width, dtype=np.uint64)
    return np.stack([words >> shift & np.uint64((1 << width) - 1) for shift in shifts], 1).reshape(-1).view(np.int64)
