"""Recipes that can't work are refused before anything is trained."""

import math
import sys

from ravn.errors import InputError


def ensure_number(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a setting of training that is out of its bounds.

    Args:
        name: of the setting.
        value: what it was given.
        low: the least that it may be.
        high: the most that it may be.

    Raises:
        InputError: it is out of bounds, or no number.
    """
    if not isinstance(value, int | float) or not low <= value <= min(high, sys.float_info.max):
        wanted = f"a number of at least {low}" if math.isinf(high) else f"a number from {low} to {high}"
        raise InputError(f"a recipe with {name} = {value!r} can't be trained; give {wanted}")


def ensure_count(name: str, value: int, least: int) -> None:
    """Refuse a number of something that is not whole or too small.

    Raises:
        InputError: it is.
    """
    if not isinstance(value, int) or value < least:
        raise InputError(f"a recipe with {name} = {value!r} can't be trained; give a whole number of at least {least}")
