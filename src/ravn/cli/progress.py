"""What a person sees: tables on the output, progress bars on the error stream."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


UNBOUND_WIDTH = 140
"""Columns of a table that goes into a file or a pipe, which has no width of its own."""


def output() -> Console:
    """The console of what a command was asked for."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=UNBOUND_WIDTH)


class Bars:
    """Shows stages as lines and loops as bars with the time left; bars vanish when they are done."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def stage(self, title: str) -> None:
        """Print a line."""
        self._console.print(f"[bold]{title}[/]")

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on under a bar."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        shown = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not shown) as bars:
            yield from bars.track(items, total=total, description=title)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Show none: bars are gone too soon to be read."""
