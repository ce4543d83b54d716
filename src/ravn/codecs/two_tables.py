"""Payloads that the trellis codec wrote before it knew of scales: read for ever, written no more.

Levels are n steps. The even quantizer holds the even n = 2 k; the odd one the odd n = 2 k + 1 or, with a dead zone,
zero as well, n = 2 k - sgn(k). Each quantizer has a table, stored by index, or by magnitude where signs are alike. The
stream holds the first weights of all chains, those in the even quantizer before those in the odd one, then the second
weights, and so on.
"""

import struct
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.dependent import chain_length, transitions
from ravn.codecs.entropy_coder import SymbolReader, Symbols
from ravn.codecs.packing import look_up
from ravn.errors import ArtifactError

Table = tuple[int, bytes]
"""Lowest index of a quantizer, and its frequency table; empty where the quantizer is never used."""

_RANGE, _MAGNITUDES = struct.Struct("<hH"), struct.Struct("<H")
_MOST = float(np.finfo(np.float32).max)


def unpack_two_tables(
    body: bytes, rows: int, columns: int, *, step: float, states: int, symmetric: bool, dead_zone: bool
) -> Tensor:
    """Weights, shape (rows, columns), from what follows the head of such a payload.

    Args:
        body: tables and stream.
        rows: of the weight matrix.
        columns: of the weight matrix.
        step: distance of neighbouring levels.
        states: number of states of the machine.
        symmetric: whether tables are stored by magnitude.
        dead_zone: whether the odd quantizer holds zero.

    Raises:
        ArtifactError: the body is broken.
    """
    tables, taken = _read_tables(body, (True, dead_zone), symmetric=symmetric)
    places = [low + np.arange(len(table)) for low, table in tables]
    odd = 2 * places[1] - np.sign(places[1]) if dead_zone else 2 * places[1] + 1
    levels = np.concatenate([2 * places[0], odd])
    if np.abs(levels).max(initial=0) * step > _MOST:
        raise ArtifactError("a trellis-coded layer has levels beyond float32")
    symbols = _read_walk(body[taken:], tables, states, rows * columns, chain_length(rows, columns))
    values = look_up((levels * np.float64(step)).astype(np.float32), symbols)
    return torch.from_numpy(values.reshape(rows, columns))


def _read_tables(data: bytes, centred: Sequence[bool], *, symmetric: bool) -> tuple[list[Table], int]:
    """Tables from the front of `data`, and how far they reach; without a zero, index k mirrors -1 - k."""
    layout = _MAGNITUDES if symmetric else _RANGE
    found, at = [], 0
    for zero in centred:
        if len(data) < at + layout.size:
            raise ArtifactError(f"the tables of a trellis don't fit into {len(data)} bytes")
        *low, size = layout.unpack_from(data, at)
        stored = data[at + layout.size : at + layout.size + size]
        mirrored = (stored[:0:-1] if zero else stored[::-1]) + stored
        found.append((-(len(mirrored) // 2), mirrored) if symmetric else (low[0], stored))
        at += layout.size + size
    if len(data) < at:
        raise ArtifactError(f"the tables of a trellis don't fit into {len(data)} bytes")
    return found, at


def _read_walk(data: bytes, tables: Sequence[Table], states: int, count: int, length: int) -> Symbols:
    """Read `count` symbols, flat: places in both tables joined."""
    reader = SymbolReader(data, [table for _, table in tables])
    following, size = transitions(states), len(tables[0][1])
    parities: NDArray[np.int64] = np.concatenate([(low + np.arange(len(table))) & 1 for low, table in tables])
    steps = np.zeros((length, -(-count // length)), np.int32)
    state = np.zeros(steps.shape[1], np.int64)
    for t, step in enumerate(steps):
        active = (count - t - 1) // length + 1
        state, step = state[:active], step[:active]
        odd = (state & 1).astype(np.bool_)
        many = int(np.count_nonzero(odd))
        step[~odd] = reader.read(0, active - many)
        step[odd] = reader.read(1, many) + size
        state = following[state, parities[step]]
    reader.finish()
    return steps.T.reshape(-1)[:count]
