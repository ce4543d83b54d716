"""Dependent quantization: two scalar quantizers, and the machine that says whose turn it is (VVC; ISO 15938-17).

Levels are multiples n of one step. The even quantizer holds the even ones, n = 2 k. The odd one holds the odd ones,
n = 2 k + 1, or, with a dead zone, zero as well, n = 2 k - sgn(k): better at low rates. The state of a machine picks the
quantizer, and the parity of the index k moves the machine. The machines are Ungerboeck's codes for amplitude modulation
(10.1109/TIT.1982.1056454); granular gains 0.99, 1.09, 1.16 and 1.22 dB with 4, 8, 16 and 32 states.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.entropy_coder import code_lengths, frequency_table

Ints = NDArray[np.int64]

PARITY_CHECKS = {4: (0o2, 0o5), 8: (0o4, 0o13), 16: (0o4, 0o23), 32: (0o10, 0o45)}
"""Parity-check polynomials (h1, h0) of the machines, by number of states."""


def transitions(states: int) -> Ints:
    """Next state by state and parity of the index, shape (states, 2); even states use the even quantizer."""
    h1, h0 = PARITY_CHECKS[states]
    state, parity = np.arange(states)[:, None], np.arange(2)
    following: Ints = (state >> 1) ^ ((state & 1) * (h0 >> 1)) ^ (parity * (h1 >> 1))
    return following


def predecessors(states: int) -> tuple[Ints, Ints]:
    """The two states that lead to each state, and the subset that each takes, both of shape (2, states).

    A subset is the half of a quantizer whose indices have one parity: `2 * quantizer + parity`.
    """
    following = transitions(states)
    arrows = following.flatten().argsort(kind="stable").reshape(states, 2).T
    origin, parity = arrows >> 1, arrows & 1
    return origin, 2 * (origin & 1) + parity


def indices(levels: Ints, quantizer: int, *, dead_zone: bool) -> Ints:
    """Index k in a quantizer of levels n that it holds."""
    return (levels + np.sign(levels) if quantizer and dead_zone else levels) >> 1


def multiples(index: Ints, quantizer: int, *, dead_zone: bool) -> Ints:
    """Level n of each index k: the inverse of `indices`."""
    shift = -np.sign(index) if dead_zone else 1
    return 2 * index + quantizer * shift


@dataclass(frozen=True)
class Quantizers:
    """Both quantizers on a range of levels; codes count the levels from `low`.

    Args:
        low: the lowest level, at most -3.
        high: the highest level, at least 3.
        dead_zone: whether the odd quantizer holds zero.
    """

    low: int
    high: int
    dead_zone: bool

    @cached_property
    def members(self) -> NDArray[np.bool_]:
        """Which levels each quantizer holds, shape (2, K)."""
        levels = np.arange(self.low, self.high + 1)
        return np.stack([levels % 2 == 0, (levels % 2 == 1) | (self.dead_zone & (levels == 0))])

    @cached_property
    def parities(self) -> Ints:
        """Parity of the index of each level in each quantizer, shape (2, K)."""
        levels = np.arange(self.low, self.high + 1)
        return np.stack([indices(levels, q, dead_zone=self.dead_zone) & 1 for q in (0, 1)])

    @cached_property
    def brackets(self) -> Ints:
        """Codes of the highest level at or below each level, and of the next one, in every subset; shape (4, 2, K)."""
        codes = np.arange(self.high - self.low + 1)
        found = []
        for subset in range(4):
            quantizer, parity = divmod(subset, 2)
            held = codes[self.members[quantizer] & (self.parities[quantizer] == parity)]
            place = np.searchsorted(held, codes, side="right")
            found.append([held[np.clip(place - 1, 0, None)], held[np.clip(place, None, len(held) - 1)]])
        return np.array(found)

    def lengths(self, counts: Ints) -> Tensor:
        """Code lengths in bits from how often each quantizer chose each level, both of shape (2, K)."""
        bits = np.zeros(counts.shape)
        for row, count, held in zip(bits, counts, self.members, strict=True):
            row[held] = code_lengths(frequency_table(count[held]))
        return torch.from_numpy(bits).float()
