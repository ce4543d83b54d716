"""The frequency tables of both quantizers of a trellis: one byte per index, or per magnitude where signs are alike."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravn.codecs.entropy_coder import code_lengths, frequency_table
from ravn.errors import ArtifactError

Ints = NDArray[np.int64]

_RANGE, _MAGNITUDES = struct.Struct("<hH"), struct.Struct("<H")


@dataclass(frozen=True)
class Tables:
    """Frequencies of the indices of each quantizer.

    Args:
        lows: lowest index of each.
        tables: frequency table of each, by ascending index; empty where the quantizer is never used.
        stored: the bytes that hold them.
        symmetric: whether these are a byte per magnitude.
    """

    lows: tuple[int, ...]
    tables: tuple[bytes, ...]
    stored: bytes
    symmetric: bool

    def bits(self, counts: Sequence[Ints], starts: Sequence[int]) -> float:
        """Bits of so many indices from `starts` on under these tables, and of the tables themselves."""
        total = 8.0 * len(self.stored)
        for count, start, low, table in zip(counts, starts, self.lows, self.tables, strict=True):
            total += float((count * code_lengths(table)[start - low :][: len(count)]).sum()) if table else 0.0
        return total


def fitted_tables(counts: Sequence[Ints], starts: Sequence[int], centred: Sequence[bool]) -> Tables:
    """The smaller of symmetric and full tables.

    Args:
        counts: how often each index of the even and of the odd quantizer occurs, first and last not zero, or empty.
        starts: the first of these indices.
        centred: whether each quantizer holds zero; otherwise index k mirrors -1 - k.
    """
    full = [(s, frequency_table(c) if len(c) else b"") for c, s in zip(counts, starts, strict=True)]
    halves = [_half(c, s, centred=z) if len(c) else b"" for c, s, z in zip(counts, starts, centred, strict=True)]
    mirrored = [_mirrored(h, centred=z) for h, z in zip(halves, centred, strict=True)]
    candidates = (
        Tables(*_columns(mirrored), b"".join(_MAGNITUDES.pack(len(h)) + h for h in halves), symmetric=True),
        Tables(*_columns(full), b"".join(_RANGE.pack(s, len(t)) + t for s, t in full), symmetric=False),
    )
    return min(candidates, key=lambda tables: tables.bits(counts, starts))


def _columns(pairs: Sequence[tuple[int, bytes]]) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    return tuple(low for low, _ in pairs), tuple(table for _, table in pairs)


def _half(counts: Ints, start: int, *, centred: bool) -> bytes:
    """Table of the magnitudes; zero counts twice, for it has no mirror image."""
    index = start + np.arange(len(counts))
    magnitudes = np.maximum(index, -index if centred else -1 - index)
    folded = np.bincount(magnitudes, counts).astype(np.int64)
    if centred:
        folded[0] *= 2
    return frequency_table(folded)


def _mirrored(half: bytes, *, centred: bool) -> tuple[int, bytes]:
    """Lowest index and whole table from the bytes of the magnitudes."""
    table = (half[:0:-1] if centred else half[::-1]) + half
    return -(len(table) // 2), table


def read_tables(data: bytes, centred: Sequence[bool], *, symmetric: bool) -> Tables:
    """Read tables from the front of `data`; the length of `stored` tells how far they reach.

    Raises:
        ArtifactError: there are too few bytes.
    """
    layout = _MAGNITUDES if symmetric else _RANGE
    found, at = [], 0
    for zero in centred:
        if len(data) < at + layout.size:
            raise ArtifactError(f"the tables of a trellis don't fit into {len(data)} bytes")
        *low, size = layout.unpack_from(data, at)
        stored = data[at + layout.size : at + layout.size + size]
        found.append(_mirrored(stored, centred=zero) if symmetric else (low[0], stored))
        at += layout.size + size
    if len(data) < at:
        raise ArtifactError(f"the tables of a trellis don't fit into {len(data)} bytes")
    return Tables(*_columns(found), data[:at], symmetric=symmetric)
