"""How long work tells where it is: silent unless somebody listens."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Listens to long work."""

    def stage(self, title: str) -> None:
        """A new stage of the work begins."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on, one by one, and show how far they are."""


class Silent:
    """Shows nothing."""

    def stage(self, title: str) -> None:
        """Do nothing."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on."""
        del title, total
        yield from items
