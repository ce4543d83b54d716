"""Pictures in folders, a folder per class."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ravn.adapters.pictures import Examples
from ravn.adapters.splits import TEST, TRAIN
from ravn.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".gif", ".tif", ".tiff"})


def read_folders(
    folder: Path, source: str, only: Collection[str] | None = None
) -> tuple[dict[str, Examples], list[str]]:
    """Read labelled pictures from `folder/SPLIT/CLASS/*`, or from `folder/CLASS/*` without splits.

    Args:
        folder: where the pictures lie.
        source: how the user called the data.
        only: names of the classes that are wanted, all of which must be there; None for all that are there.

    Returns:
        Examples by split, and the names of the classes, sorted.

    Raises:
        InputError: there are no folders of classes, or no pictures in them, or splits have different classes.
    """
    inner = {path.name.lower(): path for path in _folders(folder)}
    splits = {name: path for name, path in inner.items() if name in (*TRAIN, *TEST)} or {TRAIN[0]: folder}
    classes = {name: [path.name for path in _folders(path)] for name, path in splits.items()}
    if only is not None:
        classes = {name: _wanted(found, only, splits[name], source) for name, found in classes.items()}
    first = next(iter(classes.values()))
    if not first:
        raise InputError(f"--data {source} is unlabelled: {folder} holds no folder per class")
    for name, found in classes.items():
        if found != first:
            odd = min(set(found) ^ set(first))
            raise InputError(f"--data {source}: the class {odd!r} is not in every split; {name} differs")
    read = {name: _examples(path, first) for name, path in splits.items()}
    if not any(examples.labels for examples in read.values()):
        raise InputError(f"--data {source} is empty: {folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return read, first


def pictures_below(folder: Path, source: str) -> Examples:
    """All pictures below a folder, without regard to classes; the label of each is 0.

    Raises:
        InputError: there are none.
    """
    files = _pictures(folder)
    if not files:
        raise InputError(f"--data {source} is empty: {folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return Examples(files, [0] * len(files))


def _wanted(found: Sequence[str], only: Collection[str], folder: Path, source: str) -> list[str]:
    missing = sorted(set(only) - set(found))
    if missing:
        raise InputError(
            f"--data {source}: {folder} lacks {len(missing)} of {len(only)} folders of classes, {missing[0]!r} first"
        )
    return sorted(only)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _examples(folder: Path, classes: Sequence[str]) -> Examples:
    files: list[Path] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        found = _pictures(folder / name)
        files += found
        labels += [number] * len(found)
    return Examples(files, labels)
