"""Files are written whole or not at all, and what the disk says against it names the file."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ravn.writing import naming, write_atomic, write_package_atomic


@contextmanager
def disk(room_bytes: int) -> Iterator[None]:
    """A disk on which no file may grow beyond some bytes."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@given(old=st.binary(max_size=200_000), new=st.binary(max_size=200_000), room=st.integers(0, 200_000))
@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_a_small_disk_either_the_old_or_the_new_is_there(old: bytes, new: bytes, room: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(old)
    told = ""
    with disk(room):
        try:
            write_atomic(path, new)
        except OSError as error:
            told = error.filename
    assert path.read_bytes() == (old if told else new)
    assert told == ("" if len(new) <= room else str(path))
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_and_a_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "f", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(type(error)) as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert getattr(caught.value, "filename", str(path)) == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(tmp_path / "none" / "f", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "f")


def test_errors_keep_their_kind_and_say_all_they_know() -> None:
    with pytest.raises(PermissionError, match="not yours: 'mine'"), naming(Path("mine")):
        raise PermissionError(errno.EACCES, "not yours", ".hidden.tmp")
    with pytest.raises(OSError, match="odd") as caught, naming("mine"):
        raise OSError("odd")
    assert caught.value.filename == "mine"
    with pytest.raises(ValueError, match="other"), naming("mine"):
        raise ValueError("other")


FILES = {"Manifest.json": b"new", "Data/weights/weight.bin": bytes(100)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_package_replaces_a_former_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "p.mlpackage"
    for files in ({"Manifest.json": b"old", "stale": b""}, FILES):
        write_package_atomic(path, files)
        assert contents(path) == files
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.mkdir", "pathlib.Path.rename", "second rename"])
def test_a_failed_package_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    path = tmp_path / "p.mlpackage"
    old = {"Manifest.json": b"old", "stale": b""}
    write_package_atomic(path, old)
    rename, calls = Path.rename, []

    def fail(*args: Path, **_: object) -> None:
        calls.append(args)
        if len(calls) != (2 if place == "second rename" else 1):
            rename(*args)
            return
        raise error

    monkeypatch.setattr(place.replace("second rename", "pathlib.Path.rename"), fail)
    with pytest.raises(type(error)):
        write_package_atomic(path, FILES)
    monkeypatch.undo()
    assert contents(path) == old
    assert list(tmp_path.iterdir()) == [path]
