"""`ravn compress`: a network, its images and a budget become a run folder."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ravn.adapters import make_task
from ravn.allocators import ALLOCATORS, Allocator, allocator_from_name
from ravn.arms import ARMS
from ravn.arms import arm as arm_of
from ravn.baselines import compare
from ravn.cli.options import Data, Device, Normalize, Seed, Weights, chosen_budget, chosen_device
from ravn.cli.progress import Bars
from ravn.cli.run_folder import finish_run, finished, open_run, show
from ravn.errors import InputError
from ravn.fixed_plans import FixedPlan
from ravn.pipeline import compress as run_pipeline
from ravn.settings import Settings
from ravn.settings import preset as settings_of
from ravn.task import Task
from ravn.training import processes

DEFAULT_ALLOCATOR = "ppo"
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
    bits: Annotated[float | None, typer.Option(help="Budget: bits of the whole file per parameter.")] = None,
    size_bytes: Annotated[int | None, typer.Option("--bytes", help="Budget: bytes of the file.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Budget: float32 bytes over bytes of the file.")] = None,
    allocator: Annotated[str, typer.Option(help=" | ".join(ALLOCATORS), metavar="NAME")] = DEFAULT_ALLOCATOR,
    arm: Annotated[str | None, typer.Option(help=f"Ablation (Table 6): {' | '.join(ARMS)}", metavar="NAME")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of fine-tuning; 0 looks at no label.", min=0)] = None,
    evaluations: Annotated[int | None, typer.Option(help="Plans that the search may score.", min=0)] = None,
    preset: Annotated[str, typer.Option(help="default | paper (Sec. 4.2)")] = "default",
    seed: Seed = 0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in OUT.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also measure fixed-rate baselines.")] = False,
) -> None:
    """Compress a trained network into at most the given bytes."""
    options = {k: v for k, v in locals().items() if k not in ("out", "resume")}
    budget = chosen_budget(bits, size_bytes, ratio)
    settings = settings_of(preset, epochs=epochs, seed=seed, device=chosen_device(device))
    if evaluations is not None:
        settings = replace(settings, evaluations=evaluations)
    decider, settings = _decider(arm, allocator, settings)
    if weights is None and model.startswith(UNTRAINED):
        raise InputError(f"--model {model} has no weights of its own; give --weights FILE")

    def task() -> Task:
        """The network and its images."""
        return make_task(model, data, weights=weights, normalize=normalize, seed=seed)

    with processes.joined(settings.device):
        if not processes.is_first():
            # The first process has the run folder; the others take their share of the training.
            if not processes.from_first(False):
                run_pipeline(task(), budget, decider, settings)
            return
        with open_run(out, options, resume=resume):
            result = finished(out) if resume else None
            processes.from_first(result is not None)
            if result is None:
                bars = Bars()
                compressed = run_pipeline(task(), budget, decider, settings, folder=out, progress=bars)
                result = replace(compressed.result, command=shlex.join(["ravn", *sys.argv[1:]]))
                if baselines:
                    rows = compare(task(), result.file_bytes, settings, bars)
                    result = replace(result, rows=(result.rows[0], *rows, *result.rows[1:]))
                finish_run(out, replace(compressed, result=result))
    show(result, out)


def _decider(arm: str | None, allocator: str, settings: Settings) -> tuple[Allocator | FixedPlan, Settings]:
    """What decides bit-widths: an allocator by name, or that of an arm of the ablation."""
    if arm is None:
        return allocator_from_name(allocator, settings.seed), settings
    if allocator != DEFAULT_ALLOCATOR:
        raise InputError(f"--arm {arm} brings what decides with it; leave --allocator {allocator} out")
    return arm_of(arm, settings)
