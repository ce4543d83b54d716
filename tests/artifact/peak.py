"""How much more memory each file takes to open than a valid one, and how long: a JSON list of [bytes, seconds].

    python peak.py valid.ravn hostile.ravn ...

Each is opened in a process of its own, forked after the imports, which opens the valid one first: what opening any
file sets up for good counts for none.
"""

import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from ravn.artifact import read
from ravn.errors import ArtifactError

UNIT = 1 if sys.platform == "darwin" else 1024


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def opening(valid: Path, path: Path) -> tuple[int, float]:
    read(valid).state_dict()
    before, start = peak_bytes(), time.process_time()
    with suppress(ArtifactError):
        read(path).state_dict()
    return peak_bytes() - before, time.process_time() - start


def forked(valid: Path, path: Path) -> list[float]:
    reader, writer = os.pipe()
    if not os.fork():
        try:
            os.write(writer, json.dumps(opening(valid, path)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as result:
        text = result.read()
    os.wait()
    return json.loads(text)


if __name__ == "__main__":
    valid, *others = map(Path, sys.argv[1:])
    read(valid).state_dict()
    print(json.dumps([forked(valid, path) for path in others]))  # noqa: T201
