"""From budgets to decisions: what a file may take, and one search for all budgets that are asked for at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ravn import stages
from ravn.allocators.problem import Allocation, Allocator
from ravn.codecs import Codec
from ravn.plan import Budget, Layer
from ravn.progress import Progress
from ravn.settings import Settings
from ravn.stages import Inputs
from ravn.task import Task

MOST_BITS = 14
"""Bits per weight that are as good as float32; a budget beyond them is not used up."""


@dataclass(frozen=True)
class Limits:
    """What a budget means for a network.

    Args:
        budget_bytes: the largest file that was allowed.
        limit_bytes: the largest file that makes sense.
        capacity_bytes: bytes of it that are left for codes.
    """

    budget_bytes: int
    limit_bytes: int
    capacity_bytes: int


@dataclass(frozen=True)
class Decision:
    """What a search decided for one budget.

    Args:
        allocation: the allocator's answer.
        codecs: codec of every layer.
        equal: the same for the equal plan.
        seconds: wall time of the search; of budgets that were searched for at once, each has that of all.
    """

    allocation: Allocation
    codecs: dict[str, Codec]
    equal: dict[str, Codec]
    seconds: float


def limits_of(task: Task, layers: Sequence[Layer], budget: Budget) -> Limits:
    """The limits of a budget.

    Raises:
        BudgetError: the budget is below the smallest possible file.
    """
    budget_bytes = budget.limit_bytes(sum(p.numel() for p in task.model.parameters()))
    floor = stages.floor_of(task, task.model, layers, budget_bytes)
    if floor.smallest_bytes > budget_bytes:
        stages.ensure_reachable(stages.smallest_limit(task, layers), budget_bytes)
    most_bytes = MOST_BITS * sum(layer.parameters for layer in layers) // 8
    limit_bytes = min(budget_bytes, floor.overhead_bytes + most_bytes)
    return Limits(budget_bytes, limit_bytes, limit_bytes - floor.overhead_bytes)


def decide(
    task: Task,
    model: nn.Module,
    limits: Sequence[Limits],
    allocator: Allocator,
    *,
    inputs: Inputs,
    settings: Settings,
    log: Path | None,
    progress: Progress,
) -> list[Decision]:
    """Prepare options once, and let the allocator decide for every budget.

    Args:
        task: the float network and its images.
        model: network that holds the weights to be quantized.
        limits: of every budget.
        allocator: decides bit-widths.
        inputs: unlabelled images.
        settings: number of evaluations, and seed.
        log: keeps the evaluations; None keeps nothing.
        progress: is told how far the work is.

    Raises:
        BudgetError: a budget is below the smallest choices.
    """
    start = time.perf_counter()
    capacities = [limit.capacity_bytes for limit in limits]
    layers = stages.checked_layers(task.model)
    bench = stages.workbench(task, model, layers, capacities, inputs=inputs, settings=settings, progress=progress)
    for limit in limits:
        problem = bench.problem(limit.capacity_bytes, settings.evaluations)
        missing = problem.size_bytes((0,) * len(problem.units)) - problem.capacity_bytes
        stages.ensure_reachable(limit.limit_bytes + missing, limit.limit_bytes)
    found, problems = stages.search(bench, allocator, capacities, settings=settings, log=log, progress=progress)
    plans = [(bench.codecs(a.selection), bench.codecs(p.equal)) for a, p in zip(found, problems, strict=True)]
    seconds = time.perf_counter() - start
    return [Decision(a, codecs, equal, seconds) for a, (codecs, equal) in zip(found, plans, strict=True)]


def decide_all(
    task: Task,
    budgets: Sequence[Budget],
    allocator: Allocator,
    settings: Settings,
    *,
    log: Path | None,
    progress: Progress,
) -> list[Decision]:
    """One search for several budgets of a network: options, evaluations and, with PPO, the policy are shared.

    Raises:
        BudgetError: a budget is below the smallest possible file.
        InputError: the network has nothing to compress, or holds NaN or infinity.
    """
    task.model.to(settings.device).eval()
    layers = stages.checked_layers(task.model)
    limits = [limits_of(task, layers, budget) for budget in budgets]
    inputs = stages.draw_inputs(task, settings)
    progress.stage(f"deciding bits for {len(budgets)} budgets")
    return decide(task, task.model, limits, allocator, inputs=inputs, settings=settings, log=log, progress=progress)
