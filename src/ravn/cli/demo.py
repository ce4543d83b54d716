"""`ravn demo`: the whole pipeline on handwritten digits, without a download."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from ravn.adapters import make_task
from ravn.adapters.weights import weights_bytes
from ravn.allocators import allocator_from_name
from ravn.baselines import compare
from ravn.cli.options import Seed
from ravn.cli.progress import Bars
from ravn.cli.run_folder import ensure_free, finish_run, show
from ravn.pipeline import Compressed
from ravn.pipeline import compress as run_pipeline
from ravn.plan import Budget
from ravn.result import Measurement
from ravn.settings import Settings
from ravn.task import Task
from ravn.training import Recipe
from ravn.training.float_training import train_float
from ravn.writing import write_atomic

FLOAT = "float.safetensors"
BITS = 1.5
FLOAT_EPOCHS = 12
TUNING_EPOCHS = 40
EVALUATIONS = 200


def demo(
    out: Annotated[Path, typer.Option(help="Run folder; an earlier demo in it is replaced.")] = Path("runs/demo"),
    seed: Seed = 0,
) -> None:
    """Train a small residual network on digits, compress it to 1.5 bits per weight, and compare."""
    ensure_free(out, FLOAT)
    bars = Bars()
    torch.manual_seed(seed)
    task = make_task("digits:resnet8", "digits", seed=seed)
    bars.stage("training a float network on handwritten digits")
    train_float(task, FLOAT_EPOCHS, seed=seed, progress=bars.track)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / FLOAT, weights_bytes(task.model))
    search_only = Settings(evaluations=EVALUATIONS, seed=seed)
    tuned = replace(search_only, recipe=Recipe(epochs=TUNING_EPOCHS, batch_size=64, refit_every=10))
    arms = (
        ("knapsack", "knapsack", search_only),
        ("RAVN (PPO)", "ppo", search_only),
        ("RAVN + fine-tuning", "ppo", tuned),
    )
    rows: list[Measurement] = []
    for title, allocator, settings in arms:
        bars.stage(title)
        compressed, row = _arm(task, title, allocator, settings, out)
        rows.append(row)
    result = compressed.result
    rows = [result.rows[0], *compare(task, result.file_bytes, search_only, bars), *rows]
    result = replace(result, rows=tuple(rows), command="ravn demo")
    finish_run(out, replace(compressed, result=result))
    show(result, out)


def _arm(task: Task, title: str, allocator: str, settings: Settings, out: Path) -> tuple[Compressed, Measurement]:
    """Compress, write the file, and measure it in a new process."""
    start = time.perf_counter()
    decider = allocator_from_name(allocator, settings.seed)
    compressed = run_pipeline(task, Budget(bits_per_weight=BITS), decider, settings, progress=Bars())
    seconds = time.perf_counter() - start
    out.mkdir(parents=True, exist_ok=True)
    file = out / "model.ravn"
    write_atomic(file, compressed.data)
    command = [sys.executable, "-m", "ravn", "evaluate", str(file), "--data", "digits", "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    row = compressed.result.rows[-1]
    return compressed, replace(row, method=title, test_accuracy=found["test_accuracy"], seconds=seconds)
