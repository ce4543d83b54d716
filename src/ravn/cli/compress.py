"""`ravn compress`: a network, its images and a budget become a run folder."""

from dataclasses import replace
from pathlib import Path

from ravn.adapters import make_task, named_teachers
from ravn.allocators import Allocator, PPOAllocator, allocator_from_name
from ravn.allocators.policies import read_policy
from ravn.arms import arm as arm_of
from ravn.cli import compress_options as given
from ravn.cli.front import finish_front
from ravn.cli.jobs import Job, Jobs
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
from ravn.cli.run_folder import MODEL, open_run, show
from ravn.errors import InputError
from ravn.fixed_plans import FixedPlan
from ravn.scoring import connected
from ravn.settings import Settings
from ravn.settings import preset as settings_of
from ravn.task import Task
from ravn.training import processes

DEFAULT_ALLOCATOR = "ppo"
UNTRAINED = ("cifar:", "digits:", "imagenet:")
"""Families of networks that come without weights."""


def compress(  # noqa: PLR0913 - one option each
    model: given.Model,
    data: Data,
    out: given.Out,
    weights: Weights = None,
    normalize: Normalize = None,
    bits: given.Bits = None,
    size_bytes: given.Bytes = None,
    ratio: given.Ratio = None,
    target: given.Target = given.TARGETS[0],
    allocator: given.AllocatorName = DEFAULT_ALLOCATOR,
    arm: given.Arm = None,
    policy: given.Policy = None,
    evaluations: given.Evaluations = None,
    workers: given.Workers = None,
    epochs: given.Epochs = None,
    teacher: given.Teacher = None,
    unlabeled: given.Unlabeled = None,
    tensorboard: TensorBoard = False,
    compile_network: Compile = False,
    preset: given.Preset = "default",
    seed: Seed = 0,
    device: Device = "auto",
    resume: given.Resume = False,
    baselines: given.Baselines = False,
) -> None:
    """Compress a trained network into at most the given bytes."""
    options = {k: v for k, v in locals().items() if k not in ("out", "resume", "tensorboard", "compile_network")}
    budgets = chosen_budgets(bits, size_bytes, ratio)
    if target not in given.TARGETS:
        raise InputError(f"--target {target} is impossible; give {' or '.join(given.TARGETS)}")
    settings = settings_of(preset, epochs=epochs, seed=seed, device=chosen_device(device))
    settings = replace(settings, fixed_rate=target == "export", workers=workers)
    if evaluations is not None:
        settings = replace(settings, evaluations=evaluations)
    settings = replace(settings, recipe=replace(settings.recipe, compiled=compile_network))
    decider, settings = _decider(arm, allocator, settings)
    if policy is not None:
        decider = _with_policy(policy, decider, settings)
    _ensure_weights(model, weights, teacher)

    def task() -> Task:
        """The network and its images."""
        return make_task(
            model, data, weights=weights, normalize=normalize, seed=seed, teacher=teacher, unlabeled=unlabeled
        )

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


def _ensure_weights(model: str, weights: Path | None, teacher: str | None) -> None:
    if weights is None and model.startswith(UNTRAINED):
        raise InputError(f"--model {model} has no weights of its own; give --weights FILE")
    for name, file in named_teachers(teacher):
        if file is None and name.startswith(UNTRAINED):
            raise InputError(f"--teacher {name} has no weights of its own; give --teacher {name}=FILE")


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
