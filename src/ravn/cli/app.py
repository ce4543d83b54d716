"""The command `ravn`: what goes wrong for a user's reason becomes one sentence and exit code 2."""

import glob
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, cast

import typer

from ravn.cli import INTERRUPTED, USAGE_ERROR
from ravn.cli.compress import compress
from ravn.cli.demo import demo
from ravn.cli.evaluate import evaluate
from ravn.cli.export import export
from ravn.cli.inspect import inspect
from ravn.cli.measure import measure
from ravn.cli.progress import error_output
from ravn.cli.report import report
from ravn.cli.reproduce import reproduce
from ravn.cli.train import train
from ravn.errors import RavnError, told
from ravn.version import __version__

MEMORY = ("allocate memory", "out of memory")
"""What torch says when there is none."""
RESUMABLE = ("compress", "train")
"""Commands that go on with what they left at --out; `reproduce` does without being told."""

CommandLineError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[2])
"""Base of what is wrong with a command line; recent versions of typer carry a click of their own and hide its name."""

app = typer.Typer(
    name="ravn",
    help="Compress trained neural networks into one small file, to the byte.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (compress, train, evaluate, inspect, export, measure, report, reproduce, demo):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ravn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


def run(arguments: Sequence[str], *, begin: Callable[[], None] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: the words after `ravn`.
        begin: is called first, where Ctrl-C is answered already.

    Returns:
        The exit code: 0, 2 for what a user can mend, 130 for Ctrl-C.
    """
    try:
        if begin is not None:
            begin()
        code = app(args=list(arguments), standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except CommandLineError as error:
        # Without a command, help has been printed, and there is no more to say.
        return _fail(_told(error, arguments), USAGE_ERROR) if arguments else USAGE_ERROR
    except RavnError as error:
        return _fail(str(error), USAGE_ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", USAGE_ERROR)
    except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError for memory, too
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in MEMORY):
            raise
        return _fail(f"there is not enough memory: {told(error)}", USAGE_ERROR)
    # Recent versions of typer turn Ctrl-C into this exit code themselves, without a word.
    if code == INTERRUPTED:
        return _fail(f"interrupted{_resumption(arguments)}", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _resumption(arguments: Sequence[str]) -> str:
    """What becomes of a command that was interrupted."""
    command, out = next(iter(arguments), ""), dict(pairwise(arguments)).get("--out")
    if command == "reproduce":
        return "; it goes on where it stopped when it is called again"
    begun = out is not None and any(Path(out).parent.glob(f"{glob.escape(Path(out).name)}*"))
    return "; it goes on where it stopped when it is given --resume" if begun and command in RESUMABLE else ""


def _told(error: typer.BadParameter, arguments: Sequence[str]) -> str:
    """What is wrong with a command line, and what was given instead."""
    options = getattr(getattr(error, "param", None), "opts", ())
    given = [value for option, value in pairwise(arguments) if option in options]
    return error.format_message() + (f"; got {given[-1]!r}" if given else "")


def _fail(sentence: str, code: int) -> int:
    error_output().print(f"ravn: {sentence}", soft_wrap=True)
    return code
