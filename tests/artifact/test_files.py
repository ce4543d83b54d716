"""Files on disk: whole or not at all, and one sentence for whatever is wrong."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ravn.artifact import Artifact, pack, read, write_atomic, write_package_atomic
from ravn.errors import ArtifactError, InputError


def test_write_and_read(tmp_path: Path, sample: Artifact) -> None:
    path = tmp_path / "ü model.ravn"
    write_atomic(path, pack(sample))
    assert path.stat().st_size == len(pack(sample))
    assert read(str(path)).layers == sample.layers
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


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
    with pytest.raises(type(error)):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


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


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "f", b"x")


def test_what_the_user_typed_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file '.*x\.ravn'"):
        read(tmp_path / "x.ravn")
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        read("a\0b")
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InputError, match="can't be read"):
        read(tmp_path / "f" / "g")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(InputError, match=r"can't be read.*Permission denied"):
        read(tmp_path / "f")


def test_broken_content_names_the_file(tmp_path: Path, sample: Artifact) -> None:
    path = tmp_path / "half.ravn"
    path.write_bytes(pack(sample)[:-1])
    with pytest.raises(ArtifactError, match=r"half\.ravn can't be opened: .*truncated"):
        read(path)


def test_a_huge_foreign_file_is_refused_by_its_start(tmp_path: Path) -> None:
    path = tmp_path / "huge.pt"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(1 << 40)
    with pytest.raises(ArtifactError, match="zip archive"):
        read(path)
