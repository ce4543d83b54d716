"""JSON for files from strangers: bounded depth, no duplicate keys, finite numbers only."""

import json
import math
import re
from typing import Any

from ravn.errors import ArtifactError

MAX_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def dumps(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Write compact ASCII JSON.

    Raises:
        ValueError: the value holds NaN or infinity.
        TypeError: the value holds something that JSON has no word for.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def loads(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read ASCII JSON.

    Raises:
        ArtifactError: the text is not ASCII JSON, is nested deeper than `MAX_DEPTH`, repeats a key, or
            holds a number that is not finite.
    """
    depth = 0
    for byte in re.sub(rb"[^][{}]+", b"", _STRING.sub(b"", text)):
        depth += _STEP[byte]
        if depth > MAX_DEPTH:
            raise ArtifactError(f"its JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        # Decoded here: json.loads would guess UTF-16, in which the depth above means nothing.
        return json.loads(text.decode("ascii"), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except ValueError as error:
        raise ArtifactError(f"its JSON is broken ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ArtifactError("its JSON repeats a key")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ArtifactError(f"its JSON holds the number {text}, which is not finite")
    return number
