"""`ravn compress`: a network, its images and a budget become a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ravn.adapters import make_task
from ravn.allocators import ALLOCATORS, Allocator, PPOAllocator, allocator_from_name
from ravn.allocators.policies import read_policy
from ravn.arms import ARMS
from ravn.arms import arm as arm_of
from ravn.cli.front import finish_front
from ravn.cli.jobs import Job, Jobs
from ravn.cli.options import (
    TRAINING,
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
from ravn.cli.run_folder import MODEL, open_run, show
from ravn.errors import InputError
from ravn.fixed_plans import FixedPlan
from ravn.scoring import connected
from ravn.settings import Settings
from ravn.settings import preset as settings_of
from ravn.task import Task
from ravn.training import processes

DEFAULT_ALLOCATOR = "ppo"
TARGETS = ("file", "export")
UNTRAINED = ("cifar:", "digits:", "imagenet:")
"""Families of networks that come without weights."""
BUDGET, DECISION = "Budget (exactly one of bits, bytes, ratio)", "Decision"
"""Panels of the help."""


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
            rich_help_panel=BUDGET,
        ),
    ] = None,
    size_bytes: Annotated[
        str | None,
        typer.Option("--bytes", help="Budget: bytes of the file.", metavar="N[,...]", rich_help_panel=BUDGET),
    ] = None,
    ratio: Annotated[
        str | None,
        typer.Option(help="Budget: float32 bytes over bytes of the file.", metavar="X[,...]", rich_help_panel=BUDGET),
    ] = None,
    allocator: Annotated[
        str, typer.Option(help=" | ".join(ALLOCATORS), metavar="NAME", rich_help_panel=DECISION)
    ] = DEFAULT_ALLOCATOR,
    arm: Annotated[
        str | None,
        typer.Option(help=f"Ablation (Table 6): {' | '.join(ARMS)}", metavar="NAME", rich_help_panel=DECISION),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the policy.safetensors of another run; --evaluations 0 trains it no further.",
            metavar="FILE",
            rich_help_panel=DECISION,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of fine-tuning; 0 looks at no label.", min=0, rich_help_panel=TRAINING)
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Larger network that training imitates, with its weights.",
            metavar="NAME[=FILE]",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(help="Plans that the search may score.", min=0, rich_help_panel=DECISION)
    ] = None,
    preset: Annotated[str, typer.Option(help="default | paper (Sec. 4.2)")] = "default",
    target: Annotated[
        str,
        typer.Option(
            help="file | export: what the budget counts, an entropy-coded file or codes of fixed length.",
            rich_help_panel=BUDGET,
        ),
    ] = TARGETS[0],
    seed: Seed = 0,
    device: Device = "auto",
    workers: Annotated[
        str | None,
        typer.Option(
            help="Score plans on Ray: N processes here, or a cluster's address.",
            metavar="N|ADDRESS",
            rich_help_panel=DECISION,
        ),
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

    job = Job(task, decider, settings, options, baselines, tensorboard)
    with processes.joined(settings.device), connected(settings.workers):
        if not processes.is_first():
            Jobs(job, budgets).help()
        elif len(budgets) == 1:
            (budget,) = budgets.values()
            show(job.run(budget, out, resume=resume), out)
        else:
            with open_run(out, options, resume=resume):
                front = finish_front(out, Jobs(job, budgets, out).run(resume=resume))
            show(front, out, files=str(Path("*") / MODEL))


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
