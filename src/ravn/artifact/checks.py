"""Typed look-ups in a document that may be hostile."""

import math
from typing import Any

from ravn.errors import ArtifactError

MAX_RANK = 32
MAX_QUOTED = 300
Shape = tuple[int, ...]


def brief(text: str) -> str:
    """A text that a file may have filled, cut to what fits into a sentence."""
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def entry(document: dict[str, Any], key: str, default: Any) -> Any:  # noqa: ANN401 - typed by `default`
    """The value under `key`, of the type of `default`, which stands in where the key is absent.

    Raises:
        ArtifactError: the value has another type.
    """
    value = document.get(key, default)
    if type(value) is not type(default):
        raise ArtifactError(f"its spec holds {key!r} as a {type(value).__name__}, not a {type(default).__name__}")
    return value


def column(table: dict[str, Any], key: str, length: int) -> list[Any]:
    """A list of exactly `length` values.

    Raises:
        ArtifactError: it is no list, or has another length.
    """
    values: list[Any] = entry(table, key, [])
    if len(values) != length:
        raise ArtifactError(f"its spec holds {len(values)} values of {key!r} where {length} belong")
    return values


def strings(table: dict[str, Any], key: str) -> list[str]:
    """A list of strings.

    Raises:
        ArtifactError: it is not one.
    """
    values: list[Any] = entry(table, key, [])
    if not all(type(value) is str for value in values):
        raise ArtifactError(f"its spec holds {key!r} that are not text")
    return values


def shapes(table: dict[str, Any], length: int) -> list[Shape]:
    """The column of shapes: lists of at most `MAX_RANK` sizes.

    Raises:
        ArtifactError: an entry is not a shape.
    """
    values = column(table, "shape", length)
    for value in values:
        if type(value) is not list or len(value) > MAX_RANK or any(type(d) is not int or d < 0 for d in value):
            raise ArtifactError("its spec holds a shape that is not a list of sizes")
    return [tuple(value) for value in values]


def extent(shape: Shape) -> int:
    """Number of elements, an empty dimension counting as one: bounds strides as well as memory."""
    return math.prod(max(size, 1) for size in shape)
