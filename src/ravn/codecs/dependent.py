"""Dependent quantization: two scalar quantizers, and the machine that says whose turn it is (VVC; ISO 15938-17).

The first quantizer has the levels (2 k + 1/2) steps, k integer; the second their negatives, so that one table of
frequencies serves both. The state of a machine picks the quantizer, and the parity of the index k moves the machine.
The machines are Ungerboeck's codes for amplitude modulation (10.1109/TIT.1982.1056454); granular gains 0.99, 1.09, 1.16
and 1.22 dB with 4, 8, 16 and 32 states.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

PARITY_CHECKS = {4: (0o2, 0o5), 8: (0o4, 0o13), 16: (0o4, 0o23), 32: (0o10, 0o45)}
"""Parity-check polynomials (h1, h0) of the machines, by number of states."""

SHORTEST, LONGEST = 256, 1 << 14
"""A chain costs about one bit more than its entropy, and the search keeps all weights of a chain in memory."""


def transitions(states: int) -> Ints:
    """Next state by state and parity of the index, shape (states, 2); odd states use the second quantizer."""
    h1, h0 = PARITY_CHECKS[states]
    state, parity = np.arange(states)[:, None], np.arange(2)
    following: Ints = (state >> 1) ^ ((state & 1) * (h0 >> 1)) ^ (parity * (h1 >> 1))
    return following


def predecessors(states: int) -> tuple[Ints, Ints]:
    """The two states that lead to each state, and the parities that do, both of shape (2, states)."""
    arrows = transitions(states).flatten().argsort(kind="stable").reshape(states, 2).T
    return arrows >> 1, arrows & 1


def chain_length(rows: int, columns: int) -> int:
    """Weights of a chain: a row, several short rows, or a part of very long ones."""
    stacked = min(-(-SHORTEST // columns), rows)
    return stacked * columns if stacked * columns <= LONGEST else 4 * SHORTEST


def second_quantizer(parities: NDArray[np.integer], length: int, states: int) -> Bytes:
    """Walk through the machine: 1 where an index belongs to the second quantizer, 0 elsewhere.

    Args:
        parities: of all indices, 0 or 1, shape (n,).
        length: indices of a chain; every chain starts in state 0.
        states: number of states of the machine.
    """
    chains = np.pad(parities.astype(np.uint8), (0, -len(parities) % length)).reshape(-1, length)
    following, owners = _by_byte(states)
    steps = np.ascontiguousarray(np.packbits(chains, axis=1).T)
    state = np.zeros(len(chains), np.intp)
    for step in steps:
        place = (state << 8) | step
        step[:] = owners[place]
        state = following[place]
    return np.unpackbits(steps.T, axis=1, count=length).reshape(-1)[: len(parities)]


@lru_cache
def _by_byte(states: int) -> tuple[Ints, Bytes]:
    """State after eight parities, and whose turn it was at each, by state and byte of parities, both flat."""
    following = transitions(states)
    state, byte = (a.reshape(-1) for a in np.indices((states, 256)))
    owners = np.zeros_like(state)
    for bit in range(7, -1, -1):
        owners |= (state & 1) << bit
        state = following[state, byte >> bit & 1]
    return state, owners.astype(np.uint8)
