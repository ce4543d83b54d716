"""Runs that `test_processes.py` starts in several processes."""

import os
import sys
from pathlib import Path

import torch
from separable import coarse_codecs, payload_bytes, small_task
from torch import Tensor

from ravn.training import Recipe, processes, train
from ravn.training.from_scratch import FloatRecipe, train_from_scratch

RECIPE = Recipe(epochs=3, batch_size=33, refit_every=3, mixed_precision=False)
RECIPES = {
    "default": RECIPE,
    "in parts": Recipe(epochs=1, batch_size=33, accumulate=8, mixed_precision=False),
    "batch statistics": Recipe(epochs=3, batch_size=33, batch_statistics=True, mixed_precision=False, labels=1.0),
}
FLOAT_RECIPE = FloatRecipe(epochs=3, batch_size=33, averaging=0.9, mixed_precision=False)

Result = dict[str, object]


def run(kind: str, checkpoint: Path | None = None) -> Result:
    """The state that a training ends in, and its curve."""
    task = small_task()
    if kind == "float":
        curve = train_from_scratch(task, FLOAT_RECIPE, checkpoint=checkpoint)
        return {"state": task.model.state_dict(), "curve": curve}
    codecs = coarse_codecs(task.model, 1.0)
    capacity = round(0.6 * payload_bytes(task.model, codecs))
    trained = train(task, task.model, codecs, capacity, recipe=RECIPES[kind], checkpoint=checkpoint)
    state: dict[str, Tensor] = trained.model.state_dict() | trained.latents
    return {"state": state, "curve": trained.curve}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with processes.joined("cpu"):
        results = {kind: run(kind, folder / f"{kind}.pt") for kind in ("float", *RECIPES)}
        torch.save(results, folder / f"rank{os.environ['RANK']}.pt")
