"""`ravn compress`: a network, its images and a budget become a run folder."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ravn.adapters import make_task
from ravn.allocators import ALLOCATORS, Allocator, PPOAllocator, allocator_from_name
from ravn.allocators.policies import read_policy
from ravn.arms import ARMS
from ravn.arms import arm as arm_of
from ravn.baselines import compare
from ravn.cli.front import finish_front
from ravn.cli.options import (
    Compile,
    Data,
    Device,
    Normalize,
    Seed,
    TensorBoard,
    Weights,
    chosen_budgets,
    chosen_device,
)
from ravn.cli.progress import Bars, listening
from ravn.cli.run_folder import LOG, MODEL, finish_run, is_run, open_run, resumed, save_policy, show
from ravn.deciding import Decision, decide_all
from ravn.errors import InputError
from ravn.fixed_plans import FixedPlan
from ravn.pipeline import compress as run_pipeline
from ravn.plan import Budget
from ravn.progress import Later, Silent
from ravn.result import Result
from ravn.scoring import connected
from ravn.settings import Settings
from ravn.settings import preset as settings_of
from ravn.task import Task
from ravn.training import processes

DEFAULT_ALLOCATOR = "ppo"
TARGETS = ("file", "export")
SEARCH_LOG = "search-1.jsonl"
Decide = Callable[[], Decision | None]
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
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the policy.safetensors of another run; --evaluations 0 trains it no further.",
            metavar="FILE",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of fine-tuning; 0 looks at no label.", min=0)] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Larger network that training imitates, with its weights.", metavar="NAME[=FILE]")
    ] = None,
    evaluations: Annotated[int | None, typer.Option(help="Plans that the search may score.", min=0)] = None,
    preset: Annotated[str, typer.Option(help="default | paper (Sec. 4.2)")] = "default",
    target: Annotated[
        str, typer.Option(help="file | export: what the budget counts, an entropy-coded file or codes of fixed length.")
    ] = TARGETS[0],
    seed: Seed = 0,
    device: Device = "auto",
    workers: Annotated[
        str | None,
        typer.Option(help="Score plans on Ray: N processes here, or a cluster's address.", metavar="N|ADDRESS"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in OUT.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also measure fixed-rate baselines.")] = False,
    tensorboard: TensorBoard = False,
    compile_network: Compile = False,
) -> None:
    """Compress a trained network into at most the given bytes."""
    options = {k: v for k, v in locals().items() if k not in ("out", "resume", "tensorboard", "compile_network")}
    budgets = chosen_budgets(bits, size_bytes, ratio)
    if target not in TARGETS:
        raise InputError(f"--target {target} is impossible; give {' or '.join(TARGETS)}")
    settings = settings_of(preset, epochs=epochs, seed=seed, device=chosen_device(device))
    settings = replace(settings, fixed_rate=target == "export", workers=workers)
    if evaluations is not None:
        settings = replace(settings, evaluations=evaluations)
    settings = replace(settings, recipe=replace(settings.recipe, compiled=compile_network))
    decider, settings = _decider(arm, allocator, settings)
    if policy is not None:
        decider = _with_policy(policy, decider, settings)
    if weights is None and model.startswith(UNTRAINED):
        raise InputError(f"--model {model} has no weights of its own; give --weights FILE")
    if teacher is not None and "=" not in teacher and teacher.startswith(UNTRAINED):
        raise InputError(f"--teacher {teacher} has no weights of its own; give --teacher {teacher}=FILE")

    def task() -> Task:
        """The network and its images."""
        return make_task(model, data, weights=weights, normalize=normalize, seed=seed, teacher=teacher)

    job = _Job(task, decider, settings, options, baselines, tensorboard)
    with processes.joined(settings.device), connected(settings.workers):
        if not processes.is_first():
            _Shared(job, budgets).help()
        elif len(budgets) == 1:
            (budget,) = budgets.values()
            show(job.run(budget, out, resume=resume), out)
        else:
            with open_run(out, options, resume=resume):
                front = finish_front(out, _Shared(job, budgets, out).run(resume=resume))
            show(front, out, files=str(Path("*") / MODEL))


@dataclass(frozen=True)
class _Job:
    """What all budgets of a command have in common."""

    task: Callable[[], Task]
    decider: Allocator | FixedPlan
    settings: Settings
    options: Mapping[str, Any]
    baselines: bool
    tensorboard: bool

    def run(self, budget: Budget, out: Path, *, resume: bool, decide: Decide = lambda: None) -> Result:
        """Compress into one run folder; what a search for several budgets decided is asked for if there is work."""
        with open_run(out, self.options, resume=resume):
            former = resumed(out) if resume else None
            processes.from_first(former is not None)
            if former is not None:
                return former
            with listening(out / LOG if self.tensorboard else None) as progress:
                compressed = run_pipeline(
                    self.task(), budget, self.decider, self.settings, folder=out, progress=progress, decision=decide()
                )
                result = replace(compressed.result, command=shlex.join(["ravn", *sys.argv[1:]]))
                if self.baselines:
                    rows = compare(self.task(), result.file_bytes, self.settings, Later(progress, None))
                    result = replace(result, rows=(result.rows[0], *rows, *result.rows[1:]))
            finish_run(out, replace(compressed, result=result))
            return result


@dataclass(frozen=True)
class _Shared:
    """Several budgets and the one search for all of them, which begins when the first budget needs it."""

    job: _Job
    budgets: Mapping[str, Budget]
    out: Path | None = None

    def run(self, *, resume: bool) -> dict[str, Result]:
        """Compress into one run folder for each budget."""
        results, out = {}, self.out or Path()
        for name, budget in self.budgets.items():
            begun = resume and is_run(out / name)
            results[name] = self.job.run(budget, out / name, resume=begun, decide=partial(self._decision, name))
        return results

    def help(self) -> None:
        """Take this process's share of the training; the first process has the run folder."""
        job = self.job
        for name, budget in self.budgets.items():
            if not processes.from_first(False):
                decision = self._decision(name)
                run_pipeline(job.task(), budget, job.decider, job.settings, decision=decision)

    def _decision(self, name: str) -> Decision | None:
        return self._decisions.get(name)

    @cached_property
    def _decisions(self) -> dict[str, Decision]:
        """Decisions by budget; none, where each budget has options or a search of its own."""
        job = self.job
        if len(self.budgets) == 1 or isinstance(job.decider, FixedPlan) or job.settings.clusters:
            return {}
        log, progress = (self.out / SEARCH_LOG, Bars()) if self.out else (None, Silent())
        budgets = list(self.budgets.values())
        found = decide_all(job.task(), budgets, job.decider, job.settings, log=log, progress=progress)
        if self.out:
            save_policy(self.out, found[0].allocation.policy)
        kept = (replace(d, allocation=replace(d.allocation, policy=b"")) for d in found)
        return dict(zip(self.budgets, kept, strict=True))


def _decider(arm: str | None, allocator: str, settings: Settings) -> tuple[Allocator | FixedPlan, Settings]:
    """What decides bit-widths: an allocator by name, or that of an arm of the ablation."""
    if arm is None:
        return allocator_from_name(allocator, settings.seed), settings
    if allocator != DEFAULT_ALLOCATOR:
        raise InputError(f"--arm {arm} brings what decides with it; leave --allocator {allocator} out")
    return arm_of(arm, settings)


def _with_policy(path: Path, decider: Allocator | FixedPlan, settings: Settings) -> Allocator:
    """The allocator that begins with a policy from a file."""
    if not isinstance(decider, PPOAllocator):
        raise InputError(f"--policy {path} is for PPO, and {decider.name} decides here; leave one of them out")
    if settings.clusters:
        raise InputError(f"--policy {path} decides steps of layers; leave --preset {settings.preset} out")
    return replace(decider, policy=read_policy(path))
