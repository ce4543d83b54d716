"""A run that `test_processes.py` starts in several processes."""

import os
import sys
from pathlib import Path

import torch
from separable import coarse_codecs, payload_bytes, small_task

from ravn.training import Recipe, Trained, processes, train


def run(checkpoint: Path | None) -> Trained:
    task = small_task()
    codecs = coarse_codecs(task.model, 1.0)
    recipe = Recipe(epochs=3, batch_size=33, refit_every=3, mixed_precision=False)
    capacity = round(0.6 * payload_bytes(task.model, codecs))
    return train(task, task.model, codecs, capacity, recipe=recipe, checkpoint=checkpoint)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with processes.joined("cpu"):
        trained = run(folder / "checkpoint.pt")
        result = {"latents": trained.latents, "curve": trained.curve}
        torch.save(result, folder / f"{os.environ['RANK']}.pt")
