"""A .ravn file on disk is read, or one sentence says what is wrong with it."""

import errno
from pathlib import Path

import pytest

from ravn.artifact import Artifact, pack, read
from ravn.errors import ArtifactError, InputError
from ravn.writing import write_atomic


def test_write_and_read(tmp_path: Path, sample: Artifact) -> None:
    path = tmp_path / "ü model.ravn"
    write_atomic(path, pack(sample))
    assert path.stat().st_size == len(pack(sample))
    assert read(str(path)).layers == sample.layers
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


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
