"""A float training that `test_from_scratch.py` kills: it tells every epoch on stdout, and never ends by itself."""

import sys
from pathlib import Path

from separable import small_task
from torch import nn

from ravn.progress import Silent
from ravn.training.from_scratch import Curve, FloatRecipe, train_from_scratch

RECIPE = FloatRecipe(epochs=12, batch_size=64, averaging=0.9, label_smoothing=0.1)


class Told(Silent):
    """Hands what every epoch gave to a function."""

    def __init__(self, tell) -> None:
        self.stage = tell


def run(checkpoint: Path | None, tell=lambda _: None) -> tuple[nn.Module, Curve]:
    task = small_task(dropout=0.2)
    return task.model, train_from_scratch(task, RECIPE, checkpoint=checkpoint, progress=Told(tell))


if __name__ == "__main__":
    run(Path(sys.argv[1]), lambda sentence: print(sentence, flush=True))  # noqa: T201
    print("finished", flush=True)  # noqa: T201
    sys.stdin.read()
