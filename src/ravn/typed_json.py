"""Frozen dataclasses from JSON that a hand or a crash may have changed: every field is as declared, or it is named."""

import dataclasses
import json
import reprlib
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

from ravn.errors import InputError

T = TypeVar("T")

_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_MOST = 1 << 53
"""Whole numbers up to here are exact as floats too."""


@dataclass(frozen=True)
class Between:
    """Bounds of a number, as a mark on the type of a field: `Annotated[float, Between(0, 100)]`.

    Args:
        least: the least value.
        most: the largest.
    """

    least: float
    most: float

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"


Count = Annotated[int, Between(0, _MOST)]
Positive = Annotated[int, Between(1, _MOST)]
Amount = Annotated[float, Between(0, _MOST)]
Percent = Annotated[float, Between(0, 100)]


def loads(kind: type[T], text: str) -> T:
    """Read a value from JSON; dataclasses have no field more, and none less but those with defaults.

    Args:
        kind: a dataclass of numbers, text, tuples, dictionaries and such dataclasses, or a tuple of them.
        text: what `json.dumps` wrote, or not.

    Raises:
        InputError: half a sentence that names the field and what stands in it.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is no JSON: {error}") from error
    made: T = _value(kind, value, "")
    return made


def _value(kind: Any, value: object, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """A value of a type; `name` is its path from the outermost dataclass, such as "rows[1].seconds"."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, name)
    if origin is Annotated:
        return _within(inner[1], _value(inner[0], value, name), name)
    if origin is UnionType:
        rest = next(other for other in inner if other is not NoneType)
        return None if value is None else _value(rest, value, name)
    if origin is tuple:
        return _items(inner, value, name)
    if origin is dict:
        return {key: _value(inner[1], item, f"{name}.{key}") for key, item in _object(value, name).items()}
    return value if kind is Any else _scalar(kind, value, name)


def _record(kind: Any, value: object, name: str) -> Any:  # noqa: ANN401 - the dataclass
    given, known = _object(value, name), {field.name: field for field in dataclasses.fields(kind)}
    within = f"{name}." if name else ""
    for field in known.values():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.name not in given and not optional:
            raise InputError(f"the field {within + field.name!r} is missing")
    odd = [key for key in given if key not in known]
    if odd:
        raise InputError(f"the field {within + odd[0]!r} is none of its fields")
    try:
        return kind(**{key: _value(known[key].type, item, within + key) for key, item in given.items()})
    except RecursionError as error:
        raise InputError(f"the field {name!r} is nested too deeply") from error


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(value, name, "an object")
    return value


def _items(kinds: tuple[Any, ...], value: object, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(value, name, "a list")
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        _refuse(value, name, f"a list of {len(kinds)}")
    return tuple(_value(kind, item, f"{name}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _scalar(kind: type, value: object, name: str) -> object:
    if kind is float and type(value) is int and abs(value) <= _MOST:
        return float(value)
    if type(value) is not kind:
        _refuse(value, name, _WORDS[kind])
    return value


def _within(bounds: Between, value: float, name: str) -> float:
    if not bounds.least <= value <= bounds.most:
        _refuse(value, name, f"{_WORDS[type(value)]} {bounds}")
    return value


def _refuse(value: object, name: str, wanted: str) -> NoReturn:
    where = f"the field {name!r}" if name else "it"
    raise InputError(f"{where} is {reprlib.repr(value)}, and must be {wanted}")
