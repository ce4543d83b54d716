"""A run that `test_sigkill.py` kills: it tells every epoch on stdout, and never ends by itself."""

import sys
from pathlib import Path

from separable import Tracked, coarse_codecs, payload_bytes, small_task

from ravn.progress import Silent
from ravn.training import Recipe, Trained, train

EPOCHS = 25
SILENT = Silent()


def run(checkpoint: Path | None, progress=SILENT) -> Trained:
    task = small_task(dropout=0.2)
    codecs = coarse_codecs(task.model, 1.0)
    capacity = round(0.6 * payload_bytes(task.model, codecs))
    recipe = Recipe(epochs=EPOCHS, batch_size=64, refit_every=3)
    return train(task, task.model, codecs, capacity, recipe=recipe, checkpoint=checkpoint, progress=progress)


def tell(items, title, total):
    print(title, flush=True)  # noqa: T201
    return items


if __name__ == "__main__":
    run(Path(sys.argv[1]), Tracked(tell))
    print("finished", flush=True)  # noqa: T201
    sys.stdin.read()
