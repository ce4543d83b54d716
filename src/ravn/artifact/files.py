"""Files on disk: written whole or not at all, read with one sentence for whatever is wrong."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from ravn.artifact.container import MAX_HEADER_BYTES, refuse_foreign, unpack
from ravn.artifact.spec import Artifact
from ravn.errors import InputError


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that at every moment either the old one or the whole new one is there.

    Args:
        path: the file, in an existing folder; of a symbolic link, the target is written.
        data: everything that the file shall hold.

    Raises:
        OSError: the disk is full, or the folder is missing or read-only; nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        # Ctrl-C as well: nothing half-written stays.
        temporary.unlink(missing_ok=True)
        raise


def write_package_atomic(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Write a folder that applications take for one file, so that it is there as a whole or not at all.

    Args:
        path: the folder, in an existing one; a former package there is replaced.
        files: bytes of every file by its path in the folder, with slashes.

    Raises:
        OSError: the disk is full, or the folder is missing or read-only; nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    fresh, former = (target.with_name(f".{secrets.token_hex(8)}.tmp") for _ in range(2))
    try:
        for name, data in files.items():
            file = fresh / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, data)
        if target.exists():
            target.rename(former)
        fresh.rename(target)
    except BaseException:
        if former.exists():
            former.rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(former, ignore_errors=True)


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
