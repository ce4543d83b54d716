"""Files on disk: written whole or not at all; what the disk says against it names the file."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors of the disk tell of a file: those of a full one tell of none.

    Raises:
        OSError: of the same kind, with the name of the file.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


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
        with naming(path), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with naming(path):
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
        with naming(path):
            if target.exists():
                target.rename(former)
            fresh.rename(target)
    except BaseException:
        if former.exists():
            former.rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(former, ignore_errors=True)
