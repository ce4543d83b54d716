"""Names of a network as three short columns: neighbours that share a module share its name."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ravn.artifact.checks import column, strings
from ravn.errors import ArtifactError


def grouped(names: Iterable[str]) -> dict[str, list[Any]]:
    """Split names after their last dot: "bn1.weight", "bn1.bias" share the prefix "bn1.".

    Returns:
        Prefix of every run, length of every run, and the rest of every name.
    """
    pairs = [(name[: name.rfind(".") + 1], name[name.rfind(".") + 1 :]) for name in names]
    runs = [(prefix, len(list(run))) for prefix, run in groupby(pair[0] for pair in pairs)]
    return {
        "prefix": [prefix for prefix, _ in runs],
        "run": [length for _, length in runs],
        "name": [rest for _, rest in pairs],
    }


def ungrouped(table: dict[str, Any]) -> list[str]:
    """Join what `grouped` split.

    Raises:
        ArtifactError: the columns don't fit each other, or a name occurs twice.
    """
    rests, prefixes = strings(table, "name"), strings(table, "prefix")
    runs = column(table, "run", len(prefixes))
    if any(type(run) is not int or not 0 < run <= len(rests) for run in runs) or sum(runs) != len(rests):
        raise ArtifactError("its spec doesn't say which names belong together")
    heads = (prefix for prefix, run in zip(prefixes, runs, strict=True) for _ in range(run))
    names = [head + rest for head, rest in zip(heads, rests, strict=True)]
    if len(set(names)) < len(names):
        raise ArtifactError("its spec holds a name twice")
    return names
