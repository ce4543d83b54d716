"""What a person sees: tables on the output, progress bars on the error stream."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


UNBOUND_WIDTH = 140
"""Columns of a table that goes into a file or a pipe, which has no width of its own."""


def output() -> Console:
    """The console of what a command was asked for."""
    console = _console()
    return console if console.is_terminal else _console(width=UNBOUND_WIDTH)


def error_output() -> Console:
    """The console of everything else."""
    return _console(stderr=True)


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    # Names of files and networks are printed as they are: neither [bold] nor :a: means anything in them.
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class Bars:
    """Shows stages as lines and loops as bars with the time left; bars vanish when they are done."""

    def __init__(self) -> None:
        self._console = error_output()

    def stage(self, title: str) -> None:
        """Print a line."""
        self._console.print(title, style="bold", soft_wrap=True)

    def track(self, items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        """Hand the items on under a bar."""
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        shown = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not shown) as bars:
            yield from bars.track(items, total=total, description=title)
