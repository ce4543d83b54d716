"""The one door to pyarrow: folders of parquet files as the Hugging Face hub lays them out."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ravn.adapters.pictures import Examples
from ravn.adapters.splits import TEST, TRAIN
from ravn.errors import InputError, MissingPackageError, told

LABELS = ("label", "fine_label", "labels")
"""Customary names of the label column, best first."""
MAX_CLASSES = 1 << 17


def read_parquet(folder: Path, source: str) -> tuple[dict[str, Examples], list[str]]:
    """Read labelled pictures.

    Args:
        folder: holds files such as `data/train-00000-of-00001.parquet`, at any depth.
        source: how the user called the data.

    Returns:
        Examples by split, and the names of the classes.

    Raises:
        InputError: there are no parquet files, or they hold no pictures with labels.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingPackageError("pyarrow", "images") from error
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        files.setdefault(re.split(r"[-_.]", path.name)[0].lower(), []).append(path)
    files = {split: paths for split, paths in files.items() if split in (*TRAIN, *TEST)}
    if not files:
        raise InputError(f"--data {source}: {folder} holds no parquet files of a split, such as train-*.parquet")
    splits: dict[str, Examples] = {}
    classes: list[str] = []
    for split, paths in files.items():
        try:
            tables = [pq.read_table(path) for path in paths]
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise InputError(f"--data {source}: a parquet file in {folder} can't be read ({told(error)})") from error
        image, label = _columns(tables[0].schema, source)
        odd = [path for path, table in zip(paths, tables, strict=True) if not {image, label} <= {*table.schema.names}]
        if odd:
            raise InputError(f"--data {source}: {odd[0]} lacks the columns {image!r} and {label!r} of the other files")
        encoded = [(picture or {}).get("bytes") or b"" for table in tables for picture in table[image].to_pylist()]
        labels = [-1 if n is None else n for table in tables for n in table[label].to_pylist()]
        splits[split] = Examples(encoded, labels)
        if max(labels, default=0) >= MAX_CLASSES:
            raise InputError(f"--data {source} has the label {max(labels)}; classes are numbered from 0")
        classes = max(classes, _class_names(tables[0].schema, label, labels), key=len)
    return splits, classes


def _columns(schema: Any, source: str) -> tuple[str, str]:  # noqa: ANN401 - pyarrow has no types
    images = [field.name for field in schema if str(field.type).startswith("struct<bytes")]
    labels = [name for name in LABELS if name in schema.names and "int" in str(schema.field(name).type)[:4]]
    if not images or not labels:
        raise InputError(
            f"--data {source} is unlabelled or holds no pictures: its columns are {', '.join(schema.names)};"
            f" a picture and one of {', '.join(LABELS)} with the numbers of the classes are needed"
        )
    return images[0], labels[0]


def _class_names(schema: Any, label: str, labels: Sequence[int]) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    try:
        notes = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = notes["info"]["features"][label]["names"]
    except (ValueError, LookupError, TypeError):  # somebody else's notes
        names = None
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    return [str(number) for number in range(max(labels, default=-1) + 1)]
