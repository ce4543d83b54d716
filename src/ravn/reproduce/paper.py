"""What the paper reports, cell by cell, and what its own tables say to the figures in its text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

DATA = "paper.json"
FLOAT_BYTES = 4
MEGABYTE = 1e6
KEYS = {"imagenet100": "imagenet"}
"""What the paper calls ImageNet has 100 of its classes."""


@dataclass(frozen=True)
class Claim:
    """A figure that the paper's text computes from one of its tables.

    Args:
        where: section.
        text: what it speaks of.
        said: the figure in the text.
        computed: the same figure, computed from the table.
        unit_rounding: half of the last digit that the text gives.
    """

    where: str
    text: str
    said: float
    computed: float
    unit_rounding: float

    @property
    def agrees(self) -> bool:
        """Whether the text says what the table says, to within rounding."""
        return abs(self.said - self.computed) <= self.unit_rounding + 1e-9


@dataclass(frozen=True)
class Paper:
    """All figures of the paper's tables.

    Args:
        tables: title, unit, columns and rows of every table, by its number.
        claims: figures of the text.
        parameters: published number of parameters of each network, with 1,000 classes (ResNet-20: 10).
    """

    tables: Mapping[str, Any]
    claims: tuple[Claim, ...]
    parameters: Mapping[str, int]

    def row(self, table: int, *keys: str) -> Sequence[float]:
        """Figures of a row, in the order of the table's columns; empty where the paper has no such row."""
        found: Any = self.tables[str(table)]["rows"]
        for key in keys:
            found = found.get(KEYS.get(key, key), {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Sequence) else ()


def _figure(tables: Mapping[str, Any], claim: Mapping[str, Any], end: str) -> float:
    found = tables[claim["table"]]["rows"]
    for key in claim[end]:
        found = found[key]
    return float(found)


def _claim(tables: Mapping[str, Any], claim: Mapping[str, Any]) -> Claim:
    value = _figure(tables, claim, "of")
    if claim["kind"] != "value":
        other = _figure(tables, claim, "to")
        value = value - other if claim["kind"] == "difference" else 100 * (1 - value / other)
    said = claim["said"]
    decimals = len(str(said).partition(".")[2])
    return Claim(claim["where"], claim["text"], float(said), value, 0.5 * 10**-decimals)


def _read() -> Paper:
    document = json.loads(files("ravn.reproduce").joinpath(DATA).read_text())
    tables = document["tables"]
    return Paper(tables, tuple(_claim(tables, claim) for claim in document["claims"]), document["parameters"])


PAPER = _read()
