"""`ravn report`: draw the report of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from ravn.cli.front import finish_front, finished_front
from ravn.cli.run_folder import MODEL, REPORT, finished, is_run, show
from ravn.errors import InputError
from ravn.reports import render_html
from ravn.writing import write_atomic


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, of one budget or of several.", metavar="RUN")],
) -> None:
    """Print a run's table and write its report.html from its result.json, or from those of its budgets."""
    if results := finished_front(run):
        show(finish_front(run, results), run, files=str(Path("*") / MODEL))
        return
    result = finished(run)
    if result is None and is_run(run):
        raise InputError(f"the run in {run} is not finished; go on with it by `ravn compress ... --resume`")
    if result is None:
        raise InputError(f"{run} holds no result.json; give the folder of a finished run")
    write_atomic(run / REPORT, render_html(result).encode(errors="replace"))
    show(result, run)
