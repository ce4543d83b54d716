"""Hostile files take a few megabytes more than the valid one at most, and less than a second."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import mutants
import pytest
from mutants import Valid, bomb, framed, written
from subjects import subjects

from ravn.artifact.container import FREE_ELEMENTS, MAX_ELEMENTS_PER_BYTE
from ravn.artifact.planes import deflate

CONSTANT_BYTES = 8 << 20
PER_BYTE = 256
"""Some mutants are longer than the valid file: a name of one byte becomes a tensor."""
UNITS = (b" ", b"[],", b"{},", b'"",', b'"ab",', b"1e5,", b"[[]],", b"9")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="measures in forked processes")


def with_values(file: Valid, table: str, row: int, **values: Any) -> bytes:
    columns = {
        key: column if key not in values else [*column[:row], values[key], *column[row + 1 :]]
        for key, column in file.document[table].items()
    }
    return written(replace(file, document=file.document | {table: columns}))


def worst_layers(file: Valid) -> Iterator[bytes]:
    """A layer as large as a reader believes in, and larger."""
    most = most_elements(file)
    for shape in ([most], [most // 2, 2], [1 << 30], [0, most]):
        yield with_values(file, "layers", 1, shape=shape, dtype="float64")


def worst_of_the_rest(file: Valid) -> Iterator[bytes]:
    """Tensors, bombs and counts, up to the limits of the format and beyond."""
    most = most_elements(file)
    for shape in ([most], [1 << 40]):
        for stored in ("zero", "constant", "exact", "float16"):
            yield with_values(file, "tensors", 0, shape=shape, dtype="float64", stored=stored)
    for size in (8 * most, 1 << 24):
        bombed = replace(file, tensors=bomb(b"\0", size))
        yield written(bombed)
        yield with_values(bombed, "tensors", 0, shape=[most], dtype="float64", stored="exact")
    for unit in UNITS:
        for size in (80_000, 1 << 24):
            text = b'{"preprocessing":{"a":[' + unit * (size // len(unit)) + b"0]}}"
            yield framed(deflate(text), b"", b"")
    for seed in range(8):
        yield mutants.absurd_counts(file, Random(seed))


def most_elements(file: Valid) -> int:
    """As many as may be declared beside the others."""
    return FREE_ELEMENTS + MAX_ELEMENTS_PER_BYTE * len(file.data) - 3000


def test_memory_and_time_of_the_worst(tmp_path: Path) -> None:
    valid = [mutants.valid(artifact) for artifact in subjects()]
    # The last is the one of all codecs.
    files = [valid[-1].data, *worst_of_the_rest(valid[-1]), *(data for file in valid for data in worst_layers(file))]
    paths = [tmp_path / f"{number}.ravn" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    command = [sys.executable, str(Path(__file__).with_name("peak.py")), *map(str, paths)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, capture_output=True, check=True, env=environment).stdout
    for path, (more_bytes, seconds) in zip(paths[1:], json.loads(output), strict=True):
        longer_bytes = max(path.stat().st_size - len(files[0]), 0)
        assert more_bytes <= CONSTANT_BYTES + PER_BYTE * longer_bytes, path.name
        assert seconds < 1, path.name
