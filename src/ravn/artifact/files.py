"""A .ravn file on disk: read, or one sentence for whatever is wrong."""

import os
from pathlib import Path

from ravn.artifact.container import MAX_HEADER_BYTES, refuse_foreign, unpack
from ravn.artifact.spec import Artifact
from ravn.errors import InputError


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a .ravn file.

    Raises:
        InputError: there is no such file, it is a folder, or it may not be read.
        ArtifactError: the file is truncated, altered, foreign or newer.
    """
    file_path = Path(path)
    try:
        with file_path.open("rb") as file:
            start = file.read(8 + MAX_HEADER_BYTES)
            # A foreign checkpoint may be huge: it is refused before the rest is read.
            refuse_foreign(start, source=str(file_path))
            data = start + file.read()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {str(file_path)!r}; give a .ravn file") from error
    except IsADirectoryError as error:
        raise InputError(f"{str(file_path)!r} is a folder; give the .ravn file in it") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{str(file_path)!r} can't be read ({error}); give a .ravn file") from error
    return unpack(data, source=str(file_path))
