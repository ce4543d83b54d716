"""The folder of a run: what is in it, and what an interrupted one still needs."""

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from ravn.artifact import read
from ravn.cli.progress import output
from ravn.errors import InputError
from ravn.pipeline import Compressed, save
from ravn.reports import headline_table, render_html
from ravn.result import Result
from ravn.writing import write_atomic

CONFIG = "config.yaml"
LOG = "tensorboard"
MODEL = "model.ravn"
REPORT = "report.html"
POLICY = "policy.safetensors"
RESULT = "result.json"
"""Written last: a folder that holds it holds a finished run."""
FREE = ("workers",)
"""Options that change nothing in what a run writes: whoever goes on with it may choose them anew."""
THREADS, MOST_THREADS = "threads", 1024
"""How many threads compute: sums of other numbers of threads differ in their last bits, and so would the run."""
SCRATCH = ("checkpoint-*.pt", "*.partial")


@contextmanager
def open_run(folder: Path, options: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
    """Make the folder and note the options; a run that fails before it has anything worth resuming leaves no folder.

    Args:
        folder: the run folder.
        options: options of the command line.
        resume: go on with what is there.

    Raises:
        InputError: the folder holds another run, or none to go on with.
    """
    noted = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    config = folder / CONFIG
    if config.is_file():
        former = _former(config)
        _check_former(folder, former, yaml.safe_load(yaml.safe_dump(noted)), resume=resume)
        _compute_as(former)
    elif resume:
        raise InputError(f"--resume: {folder} holds no run to go on with; leave --resume out to begin one")
    else:
        ensure_free(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_atomic(config, yaml.safe_dump(noted | {THREADS: torch.get_num_threads()}).encode())
        yield
    except BaseException:
        if not any(path.name != CONFIG for path in folder.iterdir()):
            config.unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise


def ensure_free(folder: Path, mark: str = CONFIG) -> None:
    """Refuse to write among somebody's files.

    Raises:
        InputError: there is a file of this name, or a folder that holds something but not `mark`.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise InputError(f"--out {folder} holds files of something else; give a new or an empty folder")


def _former(config: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(config.read_text(errors="replace"))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):  # of a date such as 2001-99-99, for one
        options = None
    if not isinstance(options, dict) or "model" not in options or not all(isinstance(key, str) for key in options):
        raise InputError(f"{config} is not that of a run; give a new or an empty folder")
    return options


def _compute_as(former: Mapping[str, Any]) -> None:
    """Take as many threads as the run was begun with, whatever the machine has now."""
    threads = former.get(THREADS)
    if isinstance(threads, int) and 1 <= threads <= MOST_THREADS:
        torch.set_num_threads(threads)


def _check_former(folder: Path, former: Mapping[str, Any], now: Mapping[str, Any], *, resume: bool) -> None:
    if not resume:
        raise InputError(f"--out {folder} holds a run already; give --resume to go on with it, or another folder")
    kept = (former.keys() | now.keys()) - {*FREE, THREADS}
    changed = sorted(k for k in kept if former.get(k) != now.get(k))
    if changed:
        then, instead = (_words(changed[0], options.get(changed[0])) for options in (former, now))
        raise InputError(f"--resume: the run in {folder} was begun {then}, not {instead}; give the same options")


def _words(name: str, value: object) -> str:
    option = "--bytes" if name == "size_bytes" else f"--{name}"
    if value is None or value is False:
        return f"without {option}"
    if value is True:
        return f"with {option}"
    return f"with {option} {value if str(value).isprintable() else reprlib.repr(value)}"


def finish_run(folder: Path, compressed: Compressed) -> None:
    """Write the file, the plan, the result and the report; drop what only an interrupted run needs."""
    save(compressed, folder / MODEL)
    write_atomic(folder / "plan.json", compressed.plan.to_json().encode())
    write_atomic(folder / REPORT, render_html(compressed.result).encode(errors="replace"))
    save_policy(folder, compressed.policy)
    write_atomic(folder / RESULT, compressed.result.to_json().encode())
    for path in (p for pattern in SCRATCH for p in folder.glob(pattern)):
        path.unlink()


def save_policy(folder: Path, policy: bytes) -> None:
    """Write the policy that a search has trained, if it has trained one that can be used elsewhere."""
    if policy:
        write_atomic(folder / POLICY, policy)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (folder / CONFIG).is_file()


def finished(folder: Path) -> Result | None:
    """The result of a finished run, or None where there is none yet.

    Raises:
        InputError: its file is broken.
    """
    source = folder / RESULT
    return Result.from_json(source.read_text(errors="replace"), str(source)) if source.is_file() else None


def resumed(folder: Path) -> Result | None:
    """The result of a run that needs no going on, or None.

    Raises:
        InputError: its files are broken, or don't belong together.
        ArtifactError: the .ravn file is broken.
    """
    result, file = finished(folder), folder / MODEL
    if result is not None:
        read(file)
        if file.stat().st_size != result.file_bytes:
            raise InputError(f"{folder / RESULT} is not that of {file}; delete it, and the run is finished again")
    return result


def show(result: Result, folder: Path, *, files: str = MODEL) -> None:
    """Print the headline table, and where the file and the report are."""
    console = output()
    console.print(headline_table(result))
    sizes = f": {result.file_bytes:,} bytes" if files == MODEL else ""
    console.print(f"file    {folder / files}{sizes}", soft_wrap=True)
    console.print(f"report  {(folder / REPORT).resolve()}", soft_wrap=True)
