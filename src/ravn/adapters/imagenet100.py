"""ImageNet-100: the hundred classes of ILSVRC-2012 that the field took over from arXiv 1906.05849."""

from functools import lru_cache
from importlib.resources import files

DATA = "imagenet100.txt"


@lru_cache
def classes() -> dict[str, int]:
    """WordNet ids, sorted, which are the names of the classes' folders; and their places among the 1,000 classes."""
    lines = files("ravn.adapters").joinpath(DATA).read_text().splitlines()
    return {wordnet: int(place) for wordnet, place in map(str.split, lines)}
