"""The folder of several budgets: a run folder for each, and the curve of accuracy by size."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ravn import typed_json
from ravn.cli.run_folder import REPORT, finished
from ravn.errors import InputError
from ravn.reports import render_html
from ravn.result import Result
from ravn.typed_json import Amount, Percent, Positive
from ravn.writing import write_atomic

FRONT = "front.json"


@dataclass(frozen=True)
class Point:
    """One of several budgets.

    Args:
        folder: name of its run folder, inside the folder of all.
        budget_bytes: the largest file that was allowed.
        file_bytes: size of the file.
        bits_per_weight: bits of the whole file per parameter.
        test_accuracy: in percent.
    """

    folder: str
    budget_bytes: Positive
    file_bytes: Positive
    bits_per_weight: Amount
    test_accuracy: Percent


def finish_front(folder: Path, results: Mapping[str, Result]) -> Result:
    """Write the bytes and accuracies of several runs in folders of these names, and a report with their curve.

    Returns:
        The last result, with the rows of all.
    """
    points = [
        Point(name, r.budget_bytes, r.file_bytes, r.bits_per_weight, r.test_accuracy) for name, r in results.items()
    ]
    last = list(results.values())[-1]
    rows = [replace(r.rows[-1], method=f"{r.allocator}, {name}") for name, r in results.items()]
    front = replace(last, rows=(last.rows[0], *rows))
    write_atomic(folder / FRONT, json.dumps([asdict(point) for point in points], indent=1).encode())
    write_atomic(
        folder / REPORT,
        render_html(front, front=[(r.file_bytes, r.test_accuracy) for r in rows]).encode(errors="replace"),
    )
    return front


def finished_front(folder: Path) -> dict[str, Result]:
    """The results of several budgets, by their folders; empty where the folder isn't that of several.

    Raises:
        InputError: a file is broken, or a run that `FRONT` tells of is not there.
    """
    source = folder / FRONT
    if not source.is_file():
        return {}
    try:
        points = typed_json.loads(tuple[Point, ...], source.read_text(errors="replace"))
    except InputError as error:
        raise InputError(f"{source} is not a front that ravn wrote: {error}") from error
    inside = [p.folder for p in points if Path(p.folder).name == p.folder != ".."]
    found = {name: finished(folder / name) for name in inside}
    results = {name: result for name, result in found.items() if result is not None}
    if not results or len(results) < len(points):
        missing = next((p.folder for p in points if p.folder not in results), "any folder")
        raise InputError(f"{source} tells of {missing!r}, and {folder} holds no finished run of this name")
    return results
