"""Frequency tables of symbols whose scale is known: from three small integers, the same bytes on every machine.

A weight of scale a, in steps, falls into bin k with a probability proportional to the integral of exp(-|x / a|^b) over
[k - 1/2, k + 1/2], b being 1 (Laplace), 3/2 or 2 (Gauss), and zero may be likelier by a factor. Levels may lie off the
integers: then k becomes k + 1/4. The decoder makes the tables anew, so all of it uses what IEEE 754 rounds exactly:
sums in a fixed order, products, quotients, square roots.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ravn.codecs.entropy_coder import frequency_table

Floats = NDArray[np.float64]

LAPLACE, BETWEEN, GAUSS = SHAPES = (0, 1, 2)
"""Twice the exponent b, less two."""

OCTAVE = 4
"""Parts of an octave in which scales, and the factor on zero, are counted."""

OFFSETS = 4
"""Parts of a step in which the offset of all levels is counted."""

MOST_SYMBOLS = 1 << 11
"""Tables of more symbols would take long, and such fine steps have no use for them."""

_ROOTS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)
_LOG2 = 0.6931471805599453
_POINTS, _TERMS = 8, 14
_SHORTEST = 4
_DEEPEST = 1 << 10
_WHOLE = 2.0**40


def power(quarters: int) -> float:
    """2^(quarters / 4), exactly the same everywhere."""
    return float(np.ldexp(_ROOTS[quarters % OCTAVE], quarters // OCTAVE))


@lru_cache(maxsize=1 << 10)
def masses(width: int, shape: int, low: int, size: int, offset: int = 0) -> Floats:
    """Relative probability of every symbol, shape (size,), read-only; positive where it doesn't underflow.

    Args:
        width: scale in quarter octaves of the step.
        shape: `LAPLACE`, `BETWEEN` or `GAUSS`.
        low: the lowest symbol's level, in steps.
        size: number of symbols.
        offset: of all levels, in quarter steps, 0 to 3.
    """
    levels = np.arange(low, low + size)
    reach = 1 << max(int(max(-levels[0], levels[-1], 0)).bit_length(), _SHORTEST)
    right = _half(width, shape, reach, offset)
    left = _half(width, shape, reach, OFFSETS - offset) if offset else right[1:]
    found = np.where(levels < 0, left[np.maximum(-levels - 1, 0)], right[np.maximum(levels, 0)])
    found.flags.writeable = False
    return found


@lru_cache(maxsize=1 << 10)
def _half(width: int, shape: int, size: int, offset: int) -> Floats:
    """Relative probability of the magnitudes 0..size-1, so many quarters added to each."""
    middles = (np.arange(_POINTS, dtype=np.float64) + 0.5 - _POINTS / 2) / _POINTS + offset / OFFSETS
    x = np.abs(np.arange(size, dtype=np.float64) + middles[:, None]) / power(width)
    density = _decay((x, x * np.sqrt(x), x * x)[shape])
    total = density[0]
    for row in density[1:]:
        total = total + row
    return total


def tables(widths: NDArray[np.int64], shape: int, zero: int, low: int, size: int, offset: int = 0) -> list[bytes]:
    """Frequency table of every class.

    Args:
        widths: scale of each class in quarter octaves of the step.
        shape: of all classes.
        zero: factor on the probability of zero, in quarter octaves.
        low: the lowest symbol's level, in steps.
        size: number of symbols.
        offset: of all levels, in quarter steps.
    """
    found = []
    for width in widths.tolist():
        mass = masses(width, shape, low, size, offset).copy()
        if 0 <= -low < size:
            mass[-low] *= power(zero)
        peak = mass.max()
        found.append(frequency_table(mass / peak * _WHOLE if peak > 0 else np.ones(size)))
    return found


def _decay(x: Floats) -> Floats:
    """exp(-x) for x >= 0, by halving and Taylor's series."""
    x = np.minimum(x, _DEEPEST * _LOG2)
    halvings = np.floor(x / _LOG2)
    rest = x - halvings * _LOG2
    series = np.ones_like(x)
    for term in range(_TERMS, 0, -1):
        series = 1.0 - rest * series / term
    decayed: Floats = np.ldexp(series, -halvings.astype(np.int64))
    return decayed
