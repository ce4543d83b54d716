"""Codes of fixed length in stages: most codes are short, the others go on in the next stage.

No runtime has an entropy decoder, but all can shift bits, compare and look up. At 4 bits of entropy, 44 levels take 6
bits in one stage and 4.3 in two, of 4 and 5 bits: one code of the first stage says "look in the second".
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ravn.codecs.packing import pack_bits

Ints = NDArray[np.int64]

MOST_STAGES = 2
MOST_BITS = 16

PLANE_BITS = 2048
"""What a plane has to save: unpacking it takes time, and nodes of an exported graph take bytes."""


@dataclass(frozen=True)
class Stage:
    """Codes of one width for the weights that the stages before have left over.

    Args:
        width: bits of a code. In all stages but the last, the highest code says "look in the next stage".
        planes: the codes' bits from the highest down, in `pieces(width)`; the pieces of all codes fill the bytes of
            their plane from the high end, uint8 of shape (bytes,). Zeros make the codes a multiple of eight.
    """

    width: int
    planes: tuple[Tensor, ...]

    @property
    def escape(self) -> int:
        """The code that says "look in the next stage", and the number of codes that don't."""
        return (1 << self.width) - 1


def pieces(width: int) -> tuple[int, ...]:
    """Powers of two, 8 at most, that add up to a width, from the highest down: bytes hold whole pieces.

    Args:
        width: bits of a code, 1 to 16.
    """
    found = []
    while width:
        found.append(min(1 << width.bit_length() - 1, 8))
        width -= found[-1]
    return tuple(found)


def best_widths(counts: Ints) -> tuple[int, ...]:
    """Widths of the stages under which codes take the fewest bits, `PLANE_BITS` for every plane among them.

    Args:
        counts: how often each code occurs, once at least, falling, shape (K,).
    """
    left = counts.sum() - np.concatenate([[0], np.cumsum(counts)])
    one = max((len(counts) - 1).bit_length(), 1)
    # A wider code may have fewer planes: 8 bits have one, 7 have three.
    tried = range(1, (1 << (one - 1).bit_length()) + 1)
    choices = [widths for stages in range(1, MOST_STAGES + 1) for widths in product(tried, repeat=stages)]
    return min(choices, key=lambda widths: _bits(widths, left))


def _bits(widths: tuple[int, ...], left: Ints) -> float:
    """Bits of all codes and planes; infinite where the widths have too few codes, or a stage that none needs."""
    bits, at = 0, 0
    for number, width in enumerate(widths, 1):
        if at >= len(left) - 1:
            return np.inf
        bits += int(left[at]) * width + PLANE_BITS * len(pieces(width))
        at += (1 << width) - (number < len(widths))
    return bits if at >= len(left) - 1 else np.inf


def staged(codes: NDArray[np.integer], size: int) -> tuple[tuple[Stage, ...], Ints]:
    """Write codes in the stages that suit them best.

    Args:
        codes: in 0..size-1, shape (n,).
        size: number of codes, at most 2^16.

    Returns:
        The stages, and the code that each rank stands for: `unstaged` gives ranks, rank 0 being the commonest code;
        codes that don't occur have none.
    """
    counts = np.bincount(codes, minlength=size)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    ranks = np.zeros(size, np.uint16)
    ranks[order] = np.arange(len(order))
    left = ranks[codes]
    widths = best_widths(counts[order])
    stages = []
    for number, width in enumerate(widths, 1):
        whole = (1 << width) - (number < len(widths))
        stages.append(_stage(np.minimum(left, whole), width))
        left = left[left >= whole] - np.uint16(whole) if number < len(widths) else left
    return tuple(stages), order


def _stage(codes: NDArray[np.integer], width: int) -> Stage:
    planes, below = [], width
    padded = np.pad(codes, (0, -len(codes) % 8))
    for piece in pieces(width):
        below -= piece
        packed = pack_bits(padded >> below & ((1 << piece) - 1), piece)
        planes.append(torch.frombuffer(bytearray(packed), dtype=torch.uint8))
    return Stage(width, tuple(planes))


def unstaged(stages: tuple[Stage, ...]) -> Tensor:
    """Read the ranks that `staged` wrote and less than eight more, int32, on the device of the planes."""
    *before, last = stages
    ranks = _ranks(last)
    for stage in reversed(before):
        found = _ranks(stage)
        ranks = found.masked_scatter(found == stage.escape, ranks + stage.escape)
    return ranks


def _ranks(stage: Stage) -> Tensor:
    total = None
    for piece, plane in zip(pieces(stage.width), stage.planes, strict=True):
        shifts = torch.arange(8 - piece, -1, -piece, dtype=torch.uint8, device=plane.device)
        fields = (plane[:, None] >> shifts & ((1 << piece) - 1)).reshape(-1).to(torch.int32)
        total = fields if total is None else (total << piece) + fields
    if total is None:
        raise ValueError("a stage has no planes")
    return total
