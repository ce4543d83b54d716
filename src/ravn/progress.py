"""How long work tells where it is: silent unless somebody listens."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Listens to long work."""

    def stage(self, title: str) -> None:
        """A new stage of the work begins."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on, one by one, and show how far they are."""

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at a step of a training; steps count from 1."""


class Silent:
    """Shows nothing."""

    def stage(self, title: str) -> None:
        """Do nothing."""

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on."""
        del title, total
        yield from items

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Later:
    """Work whose steps come after those of other work, or whose figures nobody wants.

    Args:
        progress: who listens.
        first: steps that came before; None keeps the figures back.
    """

    progress: Progress
    first: int | None

    def stage(self, title: str) -> None:
        """Hand it on."""
        self.progress.stage(title)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand it on."""
        return self.progress.track(items, title, total)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Hand them on with the step that it is in all."""
        if self.first is not None:
            self.progress.figures(self.first + step, values)
