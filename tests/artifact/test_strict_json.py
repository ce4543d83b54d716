"""JSON from strangers."""

import pytest

from ravn.artifact import strict_json
from ravn.errors import ArtifactError


@pytest.mark.parametrize("value", [None, {}, [], '[[[[\\"', {"a": [1, 2.5, "ü\ud800"]}, -3, True])
def test_round_trip(value: object) -> None:
    text = strict_json.dumps(value)
    assert text.isascii()
    assert strict_json.loads(text) == value


def test_brackets_in_strings_are_no_depth() -> None:
    value = ["[{" * 100, '"' + "[" * 100, "\\"]
    assert strict_json.loads(strict_json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 33 + b"]" * 33, "deeper than 32"),
        (b"[" * 1_000_000, "deeper than 32"),
        (b'{"a":' * 100_000, "deeper than 32"),
        (b'"' + b"\\" * 1_000_001, "broken"),
        (b'{"a":1,"a":2}', "repeats a key"),
        (b"[NaN]", "not finite"),
        (b"[-Infinity]", "not finite"),
        (b"[1e999]", "not finite"),
        (b"[" + b"9" * 5000 + b"]", "broken"),
        (b"", "broken"),
        (b"\xff", "broken"),
        (b'"\xc3', "broken"),
        (b"{'a': 1}", "broken"),
        (b"]]]]", "broken"),
        ('["ü"]'.encode(), "broken"),
        ("[]".encode("utf-16"), "broken"),
        # In UTF-16, the byte of a quotation mark inside a letter would hide the depth behind it.
        (('["\u2201",' + "[" * 100_000 + '"').encode("utf-16-le"), "broken"),
    ],
)
def test_what_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        strict_json.loads(text)
