"""What everything is compared with: fixed-rate quantizers in files of the same size, given the same care."""

import time
from dataclasses import replace

from ravn import stages
from ravn.artifact import pack
from ravn.fixed_plans import FIXED_PLANS, FixedPlan
from ravn.loading import loaded_from
from ravn.measuring import measurement, parameter_count
from ravn.metrics import top1_accuracy
from ravn.progress import Progress, Silent
from ravn.result import Measurement
from ravn.settings import Settings
from ravn.task import Task


def measure_baseline(
    task: Task,
    plan: FixedPlan,
    *,
    limit_bytes: int,
    settings: Settings,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Measurement:
    """Encode a baseline with the same error compensation as ours, and measure its file.

    Args:
        task: the network and its images.
        plan: gives the codec of every layer; its name is that of the row.
        limit_bytes: the largest allowed file.
        settings: images, their seed, and the loss that judges between candidates.
        progress: is told how far the work is.
    """
    start = time.perf_counter()
    progress.stage(plan.name)
    layers = stages.checked_layers(task.model)
    capacity = limit_bytes - stages.floor_of(task, task.model, layers, limit_bytes).overhead_bytes
    inputs = stages.draw_inputs(task, settings)
    plans = plan.planner(task.model, layers, capacity)
    _, coded = stages.best_of(task, task.model, plans, capacity, inputs=inputs, settings=settings, progress=progress)
    data = pack(stages.artifact_of(task, coded, "uniform", limit_bytes))
    seconds = time.perf_counter() - start
    test = task.test if task.test is not None else task.validation
    accuracy = top1_accuracy(loaded_from(data, task.model), test, task.transform)
    return measurement(plan.name, accuracy, len(data), parameter_count(task.model), 0, seconds)


def compare(
    task: Task,
    limit_bytes: int,
    settings: Settings,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> list[Measurement]:
    """The rows of uniform 4-bit, and of uniform and k-means in at most `limit_bytes`."""
    plans = (
        (FIXED_PLANS["uniform 4-bit"], 4 * parameter_count(task.model)),
        (replace(FIXED_PLANS["uniform"], name="uniform, our bytes"), limit_bytes),
        (replace(FIXED_PLANS["k-means"], name="k-means, our bytes"), limit_bytes),
    )
    return [
        measure_baseline(task, plan, limit_bytes=limit, settings=settings, progress=progress) for plan, limit in plans
    ]
