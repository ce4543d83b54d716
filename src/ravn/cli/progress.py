"""What a person sees: tables on the output, progress bars on the error stream."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ravn.progress import Progress, Silent
from ravn.reports.training_log import tensorboard_log
from ravn.training import processes

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


@contextmanager
def listening(log: Path | None) -> Iterator[Progress]:
    """Who listens to a command's work: bars, and a TensorBoard log; of several processes, the first one alone.

    Args:
        log: folder of the log; None for no log.

    Raises:
        MissingPackageError: a log is wanted, and TensorBoard is not installed.
    """
    if not processes.is_first():
        yield Silent()
    elif log is None:
        yield Bars()
    else:
        with tensorboard_log(Bars(), log) as progress:
            yield progress


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
        with rich.progress.Progress(*columns, console=self._console, transient=True, disable=not shown) as bars:
            yield from bars.track(items, total=total, description=title)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Show none: bars are gone too soon to be read."""
