"""`ravn compress`: a network, its images and a budget become a run folder."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ravn.adapters import make_task
from ravn.allocators import ALLOCATORS, Allocator, allocator_from_name
from ravn.arms import ARMS
from ravn.arms import arm as arm_of
from ravn.baselines import compare
from ravn.cli.options import Data, Device, Normalize, Seed, Weights, chosen_budgets, chosen_device
from ravn.cli.progress import Bars
from ravn.cli.run_folder import MODEL, finish_front, finish_run, finished, is_run, open_run, show
from ravn.errors import InputError
from ravn.fixed_plans import FixedPlan
from ravn.pipeline import compress as run_pipeline
from ravn.plan import Budget
from ravn.result import Result
from ravn.settings import Settings
from ravn.settings import preset as settings_of
from ravn.task import Task
from ravn.training import processes

DEFAULT_ALLOCATOR = "ppo"
TARGETS = ("file", "export")
UNTRAINED = ("cifar:", "digits:", "imagenet:")
"""Families of networks that come without weights."""


def compress(  # noqa: PLR0913 - one option each
    model: Annotated[
        str, typer.Option(help="cifar:resnet20 | timm:NAME | hf:NAME | python:package.module:factory", metavar="NAME")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder: model.ravn, plan.json, result.json, report.html, ...")],
    weights: Weights = None,
    normalize: Normalize = None,
    bits: Annotated[
        str | None,
        typer.Option(
            help="Budget: bits of the whole file per parameter; several, as in 1.0,2.0, make one file each.",
            metavar="X[,...]",
        ),
    ] = None,
    size_bytes: Annotated[
        str | None, typer.Option("--bytes", help="Budget: bytes of the file.", metavar="N[,...]")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(help="Budget: float32 bytes over bytes of the file.", metavar="X[,...]")
    ] = None,
    allocator: Annotated[str, typer.Option(help=" | ".join(ALLOCATORS), metavar="NAME")] = DEFAULT_ALLOCATOR,
    arm: Annotated[str | None, typer.Option(help=f"Ablation (Table 6): {' | '.join(ARMS)}", metavar="NAME")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of fine-tuning; 0 looks at no label.", min=0)] = None,
    evaluations: Annotated[int | None, typer.Option(help="Plans that the search may score.", min=0)] = None,
    preset: Annotated[str, typer.Option(help="default | paper (Sec. 4.2)")] = "default",
    target: Annotated[
        str, typer.Option(help="file | export: what the budget counts, an entropy-coded file or codes of fixed length.")
    ] = TARGETS[0],
    seed: Seed = 0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in OUT.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also measure fixed-rate baselines.")] = False,
) -> None:
    """Compress a trained network into at most the given bytes."""
    options = {k: v for k, v in locals().items() if k not in ("out", "resume")}
    budgets = chosen_budgets(bits, size_bytes, ratio)
    if target not in TARGETS:
        raise InputError(f"--target {target} is impossible; give {' or '.join(TARGETS)}")
    settings = settings_of(preset, epochs=epochs, seed=seed, device=chosen_device(device))
    settings = replace(settings, fixed_rate=target == "export")
    if evaluations is not None:
        settings = replace(settings, evaluations=evaluations)
    decider, settings = _decider(arm, allocator, settings)
    if weights is None and model.startswith(UNTRAINED):
        raise InputError(f"--model {model} has no weights of its own; give --weights FILE")

    def task() -> Task:
        """The network and its images."""
        return make_task(model, data, weights=weights, normalize=normalize, seed=seed)

    job = _Job(task, decider, settings, options, baselines)
    with processes.joined(settings.device):
        if not processes.is_first():
            job.help(budgets)
        elif len(budgets) == 1:
            (budget,) = budgets.values()
            show(job.run(budget, out, resume=resume), out)
        else:
            with open_run(out, options, resume=resume):
                parts = {name: out / name for name in budgets}
                begun = {name: resume and is_run(folder) for name, folder in parts.items()}
                results = {n: job.run(b, parts[n], resume=begun[n]) for n, b in budgets.items()}
                front = finish_front(out, results)
            show(front, out, files=str(Path("*") / MODEL))


@dataclass(frozen=True)
class _Job:
    """What all budgets of a command have in common."""

    task: Callable[[], Task]
    decider: Allocator | FixedPlan
    settings: Settings
    options: Mapping[str, Any]
    baselines: bool

    def run(self, budget: Budget, out: Path, *, resume: bool) -> Result:
        """Compress into one run folder."""
        with open_run(out, self.options, resume=resume):
            former = finished(out) if resume else None
            processes.from_first(former is not None)
            if former is not None:
                return former
            bars = Bars()
            compressed = run_pipeline(self.task(), budget, self.decider, self.settings, folder=out, progress=bars)
            result = replace(compressed.result, command=shlex.join(["ravn", *sys.argv[1:]]))
            if self.baselines:
                rows = compare(self.task(), result.file_bytes, self.settings, bars)
                result = replace(result, rows=(result.rows[0], *rows, *result.rows[1:]))
            finish_run(out, replace(compressed, result=result))
            return result

    def help(self, budgets: Mapping[str, Budget]) -> None:
        """Take this process's share of the training; the first process has the run folder."""
        for budget in budgets.values():
            if not processes.from_first(False):
                run_pipeline(self.task(), budget, self.decider, self.settings)


def _decider(arm: str | None, allocator: str, settings: Settings) -> tuple[Allocator | FixedPlan, Settings]:
    """What decides bit-widths: an allocator by name, or that of an arm of the ablation."""
    if arm is None:
        return allocator_from_name(allocator, settings.seed), settings
    if allocator != DEFAULT_ALLOCATOR:
        raise InputError(f"--arm {arm} brings what decides with it; leave --allocator {allocator} out")
    return arm_of(arm, settings)
