"""What ingredients of the training give on images that no network has seen, neither the student nor its teacher.

    python benchmarks/unseen.py float --data cifar10:DIR --weights float.safetensors
    python benchmarks/unseen.py trials --data cifar10:DIR --weights float.safetensors --trials "temperature 4"

A public checkpoint was trained on all training images, and is sure of its answers there: KL on them, blended or not, or
on foreign images can rank recipes otherwise than test accuracy does. `float` trains a network of its own without
`--aside` of the training images, and `trials` trains it back at `--bits` and judges on these. The test images are not
looked at. `float` goes on from its checkpoint beside the weights. Rows are appended to `--out`; what stands there for
these weights is not run again, and their table is printed.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from training_ingredients import CPU, TRIALS, Trial

from ravn.adapters import make_task
from ravn.adapters.weights import weights_bytes
from ravn.batches import calibration_inputs, in_order, network_inputs
from ravn.batchnorm import NORM_IMAGES, reestimated
from ravn.cli.progress import Bars
from ravn.task import Task
from ravn.training.from_scratch import FloatRecipe, train_from_scratch
from ravn.writing import write_atomic
from training import agreement, capacity_bytes, distance

ASIDE_SEED = 77


def set_aside(task: Task, images: int) -> Task:
    """The same task, whose validation images are so many of the training images, which it trains without."""
    train = task.train
    if not isinstance(train, TensorDataset):
        raise SystemExit(f"{task.data_name} isn't held in memory; give CIFAR's images")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(ASIDE_SEED))
    aside, rest = (TensorDataset(*(t[rows] for t in train.tensors)) for rows in (order[:images], order[images:]))
    return replace(task, train=rest, validation=aside)


class Unseen:
    """The images that were set aside."""

    def __init__(self, task: Task) -> None:
        batches = [(network_inputs(s, task.transform, CPU), labels) for s, labels in in_order(task.validation, 256)]
        self._teacher, self._inputs = task.model.eval(), [inputs for inputs, _ in batches]
        self._labels = torch.cat([labels for _, labels in batches])

    @torch.no_grad()
    def figures(self, network: nn.Module) -> dict[str, float]:
        """How near a network is to its teacher, and to the labels."""
        logits = torch.cat([network(inputs) for inputs in self._inputs])
        return {
            "kl": distance(self._teacher, network, self._inputs),
            "agreement": agreement(self._teacher, network, self._inputs),
            "cross-entropy": float(functional.cross_entropy(logits, self._labels)),
            "accuracy": 100 * float((logits.argmax(1) == self._labels).float().mean()),
        }


def measure(task: Task, unseen: Unseen, trial: str, epochs: int, bits: float) -> dict[str, Any]:
    """Train with an ingredient changed, and judge."""
    start, wanted = time.perf_counter(), TRIALS[trial]
    wanted = replace(wanted, recipe=replace(wanted.recipe, epochs=epochs))
    network = Trial(task, wanted, lambda factor: capacity_bytes(task, bits * factor)).run(0)
    if wanted.recipe.batch_statistics:
        network = reestimated(network, calibration_inputs(task, NORM_IMAGES, seed=0, device=CPU))
    seconds = round(time.perf_counter() - start)
    return {"trial": trial, "epochs": epochs, "bits": bits, "seconds": seconds, **unseen.figures(network)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows in markdown."""
    lines = [
        "| what is changed | bits | epochs | KL to the float network | agreement % | cross-entropy | accuracy % |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {r['trial']} | {r['bits']} | {r['epochs']} | {r['kl']:.4f} | {r['agreement']:.2f}"
        f" | {r['cross-entropy']:.4f} | {r['accuracy']:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["float", "trials"])
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True, help="of the float network; `float` writes them")
    parser.add_argument("--data", required=True)
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--aside", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, help="24 of the float network, 3 of a trial")
    parser.add_argument("--bits", type=float, default=1.0)
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), choices=TRIALS, metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/unseen.jsonl"))
    return parser.parse_args()


def main() -> None:
    """Train what is asked for."""
    options = arguments()
    weights = options.weights if options.what == "trials" else None
    untrained = weights is None
    task = make_task(
        options.model, options.data, weights=weights, normalize=options.normalize, pretrained=not untrained
    )
    task = set_aside(task, options.aside)
    if untrained:
        checkpoint = options.weights.with_suffix(".checkpoint")
        train_from_scratch(task, FloatRecipe(epochs=options.epochs or 24), checkpoint=checkpoint, progress=Bars())
        write_atomic(options.weights, weights_bytes(task.model))
        print(Unseen(task).figures(task.model))
        return
    unseen, epochs = Unseen(task), options.epochs or 3
    owner = hashlib.sha256(options.weights.read_bytes()).hexdigest()[:16]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    rows = [row for row in map(json.loads, lines) if row.get("weights") == owner]
    for trial in options.trials:
        if any((row["trial"], row["epochs"], row["bits"]) == (trial, epochs, options.bits) for row in rows):
            continue
        rows.append({"weights": owner, **measure(task, unseen, trial, epochs, options.bits)})
        print(json.dumps(rows[-1]), flush=True)
        with options.out.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    print(table([{"trial": "(float)", "bits": 32, "epochs": 0, **unseen.figures(task.model)}, *rows]))


if __name__ == "__main__":
    main()
