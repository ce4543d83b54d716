"""What a training step costs, and what each ingredient of the training gives.

    python benchmarks/training.py step --weights resnet20.safetensors --data cifar10:DIR
    python benchmarks/training.py ingredients --weights resnet20.safetensors --data cifar10:DIR --foreign cifar100:DIR

`step` alternates our step with steps of float distillation (teacher and student forward, backward, AdamW) and prints
the ratios of their medians. `ingredients` trains the equal step for a short while, each time with one thing changed,
and judges by the float network's outputs on validation images and on images of another data set; the test images are
not looked at. Rows are appended to `--out`; what stands there, all figures of it, is not run again, and the table is
printed.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from training_ingredients import CPU, TRIALS, Ingredients, Trial, equal_step

from ravn import stages
from ravn.adapters import load_data, make_task
from ravn.batches import calibration_inputs, drawn, fetch, in_order, network_inputs
from ravn.batchnorm import NORM_IMAGES, reestimated
from ravn.fidelity import performance_gap
from ravn.layers import weight_layers
from ravn.metrics import top1_accuracy
from ravn.plan import Budget
from ravn.task import Task
from ravn.training import Recipe, mixed
from ravn.training.divergence import Place, check_gradients
from ravn.training.loop import training_mode
from ravn.training.objective import Objective, channels_last, computes_bfloat16
from ravn.training.straight_through import StraightThrough

JUDGED, FOREIGN = 2000, 4000
"""Validation images and foreign images that judge."""

KEYS = ("validation", "blended", "foreign", "agreement", "accuracy")
"""What they say."""


def capacity_bytes(task: Task, bits: float) -> int:
    """Payload bytes of the codes in a file of so many bits per parameter."""
    limit = Budget(bits_per_weight=bits).limit_bytes(sum(p.numel() for p in task.model.parameters()))
    return limit - stages.floor_of(task, task.model, weight_layers(task.model), limit).overhead_bytes


def our_step(task: Task, batch: tuple[Tensor, Tensor]) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of the training of `ravn`, and a fit of levels and steps, which comes after every 50."""
    recipe, model = Recipe(), channels_last(copy.deepcopy(task.model))
    codecs = equal_step(model, capacity_bytes(task, 1.0))
    latents = {name: model.get_parameter(name).detach() for name in codecs}
    quantized = StraightThrough(model, codecs, capacity_bytes(task, 1.0), latents)
    others = {n: p for n, p in model.named_parameters() if n not in quantized.latents}
    moved = quantized.latents | others
    optimizer = torch.optim.AdamW(moved.values(), lr=1e-4)
    objective, generator = Objective(task, model, recipe), torch.Generator().manual_seed(0)
    quantized.refit()
    training_mode(model, batch_statistics=False)

    def step() -> None:
        """What `ravn.training.loop` does with a batch."""
        optimizer.zero_grad()
        objective.backward(task.augment(batch[0], generator), batch[1], generator)
        quantized.take_gradients()
        check_gradients(moved, Place(0, 0, recipe.learning_rate))
        optimizer.step()
        quantized.refresh()

    return step, quantized.refit


def float_step(task: Task, batch: tuple[Tensor, Tensor], *, batch_statistics: bool) -> Callable[[], None]:
    """A step of distillation without any quantization: the same images, precision, loss and optimiser."""
    model, teacher = (channels_last(copy.deepcopy(task.model)).eval() for _ in range(2))
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=1e-4), torch.Generator().manual_seed(0)
    training_mode(model, batch_statistics=batch_statistics)

    def step() -> None:
        """Forward, backward, AdamW."""
        optimizer.zero_grad()
        inputs = network_inputs(task.augment(batch[0], generator), task.transform, CPU)
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16(CPU)):
            with torch.no_grad():
                target = teacher(inputs).float()
            logits = model(inputs).float()
        performance_gap(target, logits).backward()
        optimizer.step()

    return step


def time_steps(task: Task, repeats: int) -> None:
    """Print the seconds of our step, with its share of a fit, and its ratio to steps of float distillation."""
    batch = fetch(task.train, range(128))
    ours, fit = our_step(task, batch)
    rivals = {
        "batch norms in training mode": float_step(task, batch, batch_statistics=True),
        "batch norms as ours": float_step(task, batch, batch_statistics=False),
    }
    seconds: dict[str, list[float]] = {}
    for number in range(-2, repeats):
        for name, run in {"ours": ours, **rivals, **({"fit": fit} if number % 5 == 0 else {})}.items():
            start = time.perf_counter()
            run()
            if number >= 0:
                seconds.setdefault(name, []).append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    whole = medians["ours"] + medians["fit"] / Recipe().refit_every
    print("| step | seconds | ours / it |\n|---|---|---|")
    print(f"| ours, with 1/{Recipe().refit_every} of a fit | {whole:.3f} | |")
    for name in rivals:
        print(f"| float distillation, {name} | {medians[name]:.3f} | {whole / medians[name]:.2f} |")


@torch.no_grad()
def distance(teacher: nn.Module, network: nn.Module, batches: Sequence[Tensor]) -> float:
    """KL divergence from the float network's outputs, in nats, mean over the images."""
    gaps = [float(performance_gap(teacher(batch), network(batch))) * len(batch) for batch in batches]
    return sum(gaps) / sum(map(len, batches))


@torch.no_grad()
def agreement(teacher: nn.Module, network: nn.Module, batches: Sequence[Tensor]) -> float:
    """Share of the images, in percent, that both put into the same class; what a temperature is judged by."""
    same = sum(int((teacher(batch).argmax(1) == network(batch).argmax(1)).sum()) for batch in batches)
    return 100 * same / sum(map(len, batches))


class Jury:
    """Images that training has not seen."""

    def __init__(self, task: Task, foreign: str, normalize: str) -> None:
        others = load_data(foreign, normalize=normalize)
        self._task, self._validation = task, drawn(task.validation, JUDGED, 0)
        self._inputs = [network_inputs(s, task.transform, CPU) for s, _ in in_order(self._validation, 128)]
        self._blended = [mixed(batch, 1.0, torch.Generator().manual_seed(0)) for batch in self._inputs]
        self._foreign = [
            network_inputs(s, others.transform, CPU) for s, _ in in_order(drawn(others.train, FOREIGN, 0), 128)
        ]

    def figures(self, network: nn.Module) -> dict[str, float]:
        """How near a network is to the float one."""
        sets = {"validation": self._inputs, "blended": self._blended, "foreign": self._foreign}
        found = {name: distance(self._task.model, network, batches) for name, batches in sets.items()}
        found["agreement"] = agreement(self._task.model, network, self._foreign)
        return found | {"accuracy": top1_accuracy(network, self._validation, self._task.transform)}


def measure(task: Task, jury: Jury, wanted: Ingredients, bits: float, seed: int) -> dict[str, Any]:
    """Train with these ingredients, and judge."""
    start = time.perf_counter()
    network = Trial(task, wanted, lambda factor: capacity_bytes(task, bits * factor)).run(seed)
    if wanted.recipe.batch_statistics:
        network = reestimated(network, calibration_inputs(task, NORM_IMAGES, seed=seed, device=CPU))
    return {"seconds": round(time.perf_counter() - start), **jury.figures(network)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows in markdown, means over the seeds."""
    head = (
        "| what is changed | KL, validation | KL, blended | KL, foreign | agreement %, foreign | accuracy % | seeds |"
    )
    lines = [head, "|---" * 7 + "|"]
    for name in dict.fromkeys(row["trial"] for row in rows):
        mine = [row for row in rows if row["trial"] == name]
        mean = {key: statistics.fmean(r[key] for r in mine) for key in KEYS}
        cells = [f"{mean[key]:.4f}" for key in ("validation", "blended", "foreign")]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {mean['agreement']:.1f} | {mean['accuracy']:.1f} | {len(mine)} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "ingredients"])
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--foreign", help="images that neither network was trained on")
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--bits", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=16_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/ingredients.jsonl"))
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for."""
    options = arguments()
    task = make_task(options.model, options.data, weights=options.weights, normalize=options.normalize)
    if options.what == "step":
        time_steps(task, options.repeats)
        return
    jury = Jury(task, options.foreign, options.normalize)
    task = replace(task, train=drawn(task.train, options.images, 0))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    rows = [row for row in rows if row.keys() >= set(KEYS)]
    for seed in options.seeds:
        for name in options.trials:
            if any(row["trial"] == name and row["seed"] == seed for row in rows):
                continue
            rows.append({"trial": name, "seed": seed, **measure(task, jury, TRIALS[name], options.bits, seed)})
            print(json.dumps(rows[-1]), flush=True)
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
