"""The walk of many chains through a trellis as one stream, written and read in lockstep.

The flattened weight is cut into chains. First come the first weights of all chains, those in the even quantizer before
those in the odd one, then the second weights, and so on; each symbol under the table of its quantizer.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ravn.codecs.dependent import Quantizers, indices, transitions
from ravn.codecs.entropy_coder import SymbolReader, Symbols, encode_pieces
from ravn.codecs.tables import Tables, fitted_tables

Ints = NDArray[np.int64]
Owners = NDArray[np.bool_]

SHORTEST, LONGEST = 256, 1 << 14
"""A chain costs about one bit more than its entropy, and every step of all chains together costs time."""


def chain_length(rows: int, columns: int) -> int:
    """Weights of a chain: a row, several short rows, or a part of very long ones."""
    stacked = min(-(-SHORTEST // columns), rows)
    return stacked * columns if stacked * columns <= LONGEST else 4 * SHORTEST


def in_steps(codes: Symbols, length: int) -> Symbols:
    """Flat codes by step: shape (length, chains), the last chain filled up with zeros."""
    filled = np.pad(codes, (0, -len(codes) % length))
    return np.ascontiguousarray(filled.reshape(-1, length).T)


def _active(t: int, length: int, count: int) -> int:
    """Number of chains that have a step t."""
    return (count - t - 1) // length + 1


def walked(steps: Symbols, count: int, quantizers: Quantizers, states: int) -> tuple[Owners, Ints] | None:
    """Follow codes through the trellis.

    Args:
        steps: codes, shape (length, chains).
        count: number of codes; what lies behind them in the last chain is ignored.
        quantizers: the levels that codes stand for.
        states: number of states of the machine.

    Returns:
        Which codes belong to the odd quantizer, of the shape of `steps`, and how often each quantizer uses each level,
        shape (2, K); None if a level is not in its quantizer.
    """
    following, parities, members = transitions(states), quantizers.parities, quantizers.members
    owners, counts = np.zeros(steps.shape, np.bool_), np.zeros(members.shape, np.int64)
    state = np.zeros(steps.shape[1], np.int64)
    for t, step in enumerate(steps):
        active = _active(t, len(steps), count)
        owner, codes = state[:active] & 1, step[:active]
        if not members[owner, codes].all():
            return None
        owners[t, :active] = owner
        np.add.at(counts.reshape(-1), owner * members.shape[1] + codes, 1)
        state = following[state[:active], parities[owner, codes]]
    return owners, counts


def write_walk(
    steps: Symbols, owners: Owners, counts: Ints, count: int, quantizers: Quantizers
) -> tuple[Tables, bytes]:
    """Fit tables and write the stream; arguments as of `walked`."""
    levels = np.arange(quantizers.low, quantizers.high + 1)
    places, used, starts = [], [], []
    for q, (held, uses) in enumerate(zip(quantizers.members, counts, strict=True)):
        place = indices(levels, q, dead_zone=quantizers.dead_zone)
        occupied = np.flatnonzero(uses)
        first, last = (occupied[0], occupied[-1]) if len(occupied) else (0, -1)
        places.append(place)
        used.append(uses[first : last + 1][held[first : last + 1]])
        starts.append(int(place[first]))
    tables = fitted_tables(used, starts, (True, quantizers.dead_zone))
    symbols = [(place - low).astype(np.int32) for place, low in zip(places, tables.lows, strict=True)]
    return tables, encode_pieces(_pieces(steps, owners, count, symbols), tables.tables)


def _pieces(steps: Symbols, owners: Owners, count: int, symbols: list[Symbols]) -> Iterator[tuple[int, Symbols]]:
    """Symbols of the odd and then of the even quantizer, from the last step to the first."""
    for t in range(len(steps) - 1, -1, -1):
        active = _active(t, len(steps), count)
        odd, codes = owners[t, :active], steps[t, :active]
        yield 1, symbols[1][codes[odd]]
        yield 0, symbols[0][codes[~odd]]


def read_walk(reader: SymbolReader, tables: Tables, states: int, count: int, length: int) -> Symbols:
    """Read `count` symbols, flat: places in both tables joined.

    Raises:
        ArtifactError: the stream is not one that `write_walk` could have written.
    """
    following, size = transitions(states), len(tables.tables[0])
    parities = np.concatenate(
        [(low + np.arange(len(table))) & 1 for low, table in zip(tables.lows, tables.tables, strict=True)]
    )
    steps = np.zeros((length, -(-count // length)), np.int32)
    state = np.zeros(steps.shape[1], np.int64)
    for t, step in enumerate(steps):
        active = _active(t, length, count)
        state, step = state[:active], step[:active]
        odd = (state & 1).astype(np.bool_)
        many = int(np.count_nonzero(odd))
        step[~odd] = reader.read(0, active - many)
        step[odd] = reader.read(1, many) + size
        state = following[state, parities[step]]
    reader.finish()
    return steps.T.reshape(-1)[:count]
