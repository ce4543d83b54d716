"""`ravn report`: draw the report of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from ravn.artifact import write_atomic
from ravn.cli.run_folder import finished, show
from ravn.errors import InputError
from ravn.reports import render_html


def report(run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]) -> None:
    """Print a run's table and write its report.html from its result.json."""
    result = finished(run)
    if result is None:
        raise InputError(f"{run} holds no result.json; give the folder of a finished run")
    write_atomic(run / "report.html", render_html(result).encode())
    show(result, run)
