"""What a hand, a crash or a bad disk makes of a text file."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Place = tuple[str | int, ...]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\udc80") | st.just(10**400)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4)


def places(document: Any) -> Iterator[Place]:
    """Paths to everything inside a JSON document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, inner in items:
        yield (key,)
        if isinstance(inner, dict | list):
            yield from ((key, *rest) for rest in places(inner))


def changed(document: Any, place: Place, *value: Any) -> Any:
    """A copy of a document with another value at a place, or none."""
    copied = inner = copy.deepcopy(document)
    for key in place[:-1]:
        inner = inner[key]
    if value:
        inner[place[-1]] = value[0]
    else:
        del inner[place[-1]]
    return copied


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A text cut somewhere, or with other letters somewhere, or longer."""
    at = draw(st.integers(0, len(text) - 1))
    inserted = draw(st.sampled_from(["", "\0", "{", "]", "\n", ":", "- ", "&a", "*a", "9" * 5000, "\ufffd", "1e999"]))
    return text[:at] + inserted + draw(st.sampled_from(["", text[at + 1 :], text[at:]]))


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """A JSON text with a field less, another value in a field, or damage."""
    document = json.loads(text)
    place = draw(st.sampled_from(list(places(document))))
    return draw(
        st.one_of(
            st.just(json.dumps(changed(document, place))),
            values.map(lambda value: json.dumps(changed(document, place, value))),
            damaged(text),
        )
    )
