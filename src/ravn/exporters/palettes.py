"""Weights as Core ML stores them: indices of one width into a table for all rows, or one for each group of rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WIDTHS = (1, 2, 3, 4, 6, 8)
"""Bits of an index that Core ML has."""
MOST_LEVELS = 1 << 12
"""A weight of more levels won't fit tables of 256 entries, whatever the groups."""
_TOP = 127


@dataclass(frozen=True)
class Palette:
    """A weight whose entries are `tables[group of the row, index]`, times scales.

    Args:
        indices: uint8, of the shape of the weight.
        tables: shape (groups, 2^width); the groups are of as many neighbouring rows each.
        scales: of a shape that broadcasts over the weight; None where the tables hold the weight's own values.
    """

    indices: NDArray[np.uint8]
    tables: Floats
    scales: Floats | None

    @property
    def width(self) -> int:
        """Bits of an index."""
        return self.tables.shape[1].bit_length() - 1


@dataclass(frozen=True)
class Rounded:
    """A weight that has no tables: 8-bit integers, and the scale of every row.

    Args:
        integers: -127 to 127, of the shape of the weight.
        scales: shape (rows, 1, ...).
    """

    integers: NDArray[np.int8]
    scales: Floats


def palette(values: Floats, scales: Floats, entry_bytes: int) -> Palette | None:
    """The smallest palette that holds a weight exactly.

    Args:
        values: the weight before it is scaled, shape (rows, ...).
        scales: what it is multiplied with, of a shape that broadcasts over it.
        entry_bytes: bytes of an entry of a table.

    Returns:
        None where no grouping of rows gets by with 256 values a group.
    """
    if scales.size == 1:
        return palette(values * scales, np.ones(0, np.float32), entry_bytes)
    levels, flat = np.unique(values, return_inverse=True)
    if len(levels) > MOST_LEVELS:
        return None
    codes = flat.reshape(len(values), -1)
    used = np.zeros((len(values), len(levels)), bool)
    np.put_along_axis(used, codes, values=True, axis=1)
    found = min(_sizes(used, values.size, entry_bytes), default=None)
    if found is None:
        return None
    _, groups, width = found
    grouped: NDArray[np.bool_] = np.logical_or.reduce(used.reshape(groups, -1, len(levels)), axis=1)
    tables = np.zeros((groups, 1 << width), np.float32)
    for group in range(groups):
        present = levels[grouped[group]]
        tables[group, : len(present)] = present
    places = (grouped.cumsum(1) - 1).astype(np.uint8)
    owner = np.arange(len(values)) // (len(values) // groups)
    indices = places[owner[:, None], codes].reshape(values.shape)
    return Palette(indices, tables, scales if scales.size else None)


def rounded(weight: Floats) -> Rounded:
    """A weight in 8 bits: off by at most 1/254 of the largest magnitude of its row."""
    peaks = np.abs(weight).max(tuple(range(1, weight.ndim)), keepdims=True)
    scales = np.where(peaks, peaks, 1).astype(np.float32) / np.float32(_TOP)
    return Rounded(np.rint(weight / scales).astype(np.int8), scales)


def _sizes(used: NDArray[np.bool_], count: int, entry_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Size in bits, number of groups and width of an index for every way to group the rows.

    Args:
        used: whether a row has a level, shape (rows, levels).
        count: number of weights.
        entry_bytes: bytes of an entry of a table.
    """
    rows = len(used)
    for groups in (g for g in range(1, rows + 1) if rows % g == 0):
        most = int(used.reshape(groups, -1, used.shape[1]).any(1).sum(1).max())
        width = next((w for w in WIDTHS if 1 << w >= most), None)
        if width is not None:
            yield count * width + (groups * entry_bytes * 8 << width), groups, width
