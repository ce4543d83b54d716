"""The one door to datasets: public data sets, for those who are online."""

from ravn.adapters.parquet import LABELS
from ravn.adapters.pictures import Examples
from ravn.errors import InputError, MissingPackageError, told


def read_hub(name: str, source: str) -> tuple[dict[str, Examples], list[str]]:
    """Fetch labelled pictures from the Hugging Face hub, or from its cache on disk.

    Args:
        name: name of the data set on the hub.
        source: how the user called the data.

    Returns:
        Examples by split, and the names of the classes.

    Raises:
        InputError: there is no such data set, it can't be fetched, or it has no pictures with labels.
        MissingPackageError: datasets is not installed.
    """
    try:
        from datasets import Image, load_dataset
    except ImportError as error:
        raise MissingPackageError("datasets", "data") from error
    try:
        fetched = load_dataset(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--data {source} can't be fetched ({told(error)}); give a folder: {source}:DIR") from error
    features = next(iter(fetched.values())).features
    images = [key for key, feature in features.items() if isinstance(feature, Image)]
    labels = [key for key in LABELS if key in features]
    if not images or not labels:
        raise InputError(f"--data {source} holds no pictures with labels: its columns are {', '.join(features)}")
    names = getattr(features[labels[0]], "names", None)
    if not names:
        raise InputError(f"--data {source} doesn't name the classes of its column {labels[0]!r}")
    splits = {}
    for split, rows in fetched.items():
        raw = rows.cast_column(images[0], Image(decode=False))
        encoded = [(picture or {}).get("bytes") or b"" for picture in raw[images[0]]]
        splits[str(split)] = Examples(encoded, [-1 if n is None else n for n in raw[labels[0]]])
    return splits, list(names)
