"""How good the allocators' plans are at the same number of true evaluations.

    python benchmarks/search.py --weights resnet20.safetensors --data cifar10:DIR --bits 1.0 1.5 2.0 3.0

For every budget and seed, options are prepared once and kept in the folder `--out`, with a log of all true evaluations
that the methods share; so a run that is repeated or extended costs only what is new. Plans are searched on
`--images` training images and judged on `--judged` others, which neither the search nor its choice of finalists has
seen, rounded as for a file: layer after layer into the budget, but without the trellis, and with norms and biases as
they are. Rows of figures are appended to `rows.jsonl`, and the table of all rows there is printed.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ravn import stages
from ravn.adapters import load_data, make_task
from ravn.allocators import ALLOCATORS, Problem, allocator_from_name
from ravn.allocators.ledger import logged
from ravn.allocators.problem import Selection
from ravn.batches import calibration_inputs, fetch, network_inputs
from ravn.codecs import Codec
from ravn.plan import Budget
from ravn.progress import Silent
from ravn.scoring import Judge, Workbench, prepare
from ravn.settings import Settings
from ravn.task import Task


@dataclass
class Stopwatch:
    """A problem's loss, and the process time that it took.

    Args:
        problem: what is watched.
        seconds: process time inside the loss so far.
    """

    problem: Problem
    seconds: float = 0.0

    def watched(self) -> Problem:
        """The same problem under watch."""
        return replace(self.problem, loss=self._loss)

    def _loss(self, selection: Selection) -> float:
        start = time.process_time()
        loss = self.problem.loss(selection)
        self.seconds += time.process_time() - start
        return loss


@dataclass(frozen=True)
class Case:
    """One question: a network at a budget, with the images of a seed."""

    problem: Problem
    judges: dict[str, Judge]
    network: Callable[[Selection], nn.Module]

    def judged(self, plan: Selection) -> dict[str, float]:
        """L_RAVN on images that nothing else has seen."""
        network = self.network(plan)
        parts = {name: judge.parts(network) for name, judge in self.judges.items()}
        return {name: sum(both) for name, both in parts.items()} | {
            f"{name} gap": gap for name, (_, gap) in parts.items()
        }


def centre(transform: Callable[[Tensor], Tensor], side: int) -> Callable[[Tensor], Tensor]:
    """The same transform, cut to a central square."""

    def cut(stored: Tensor) -> Tensor:
        """Network inputs of the smaller side."""
        inputs = transform(stored)
        first = (inputs.shape[-1] - side) // 2
        return inputs[..., first : first + side, first : first + side]

    return cut


def case(task: Task, bits: float, seed: int, options: argparse.Namespace) -> Case:
    """Prepare the options of a network, or read them from where they were kept, and the images."""
    settings = Settings(search_images=options.images, holdout_images=options.holdout, mixing=options.mixing, seed=seed)
    layers = stages.checked_layers(task.model)
    parameters = sum(p.numel() for p in task.model.parameters())
    limit = Budget(bits_per_weight=bits).limit_bytes(parameters)
    capacity = limit - stages.floor_of(task, task.model, layers, limit).overhead_bytes
    inputs = stages.draw_inputs(task, settings)
    known = f"{task.model_name.replace(':', '-')}-{bits}-{seed}"
    stem = f"{known}-{options.side}" if options.side else known
    stem = f"{stem}-clusters-{options.clusters}" if options.clusters else stem
    stem = f"{stem}-fixed" if options.fixed_rate else stem
    kept = options.out / f"{stem}.pt"
    if kept.exists():
        prepared = torch.load(kept, weights_only=False)
    else:
        offer = {"clusters": options.clusters, "fixed_rate": options.fixed_rate}
        prepared = prepare(task.model, layers, inputs.calibration, capacity_bytes=capacity, **offer)
        torch.save(prepared, kept)
    names = [layer.name for layer in layers]
    warm = options.temperature
    search, holdout = (Judge(task.model, names, seen, temperature=warm) for seen in (inputs.search, inputs.holdout))
    bench = Workbench(task.model, layers, prepared, search, holdout)
    skip = settings.calibration_images + settings.search_images + settings.holdout_images
    others = calibration_inputs(task, options.judged, seed=seed, skip=skip, device=torch.device("cpu"))
    problem = bench.problem(capacity, options.evaluations)
    judges = {"judged": Judge(task.model, names, others)}
    if options.foreign:
        judges["foreign"] = Judge(task.model, names, foreign_inputs(task, options))
    of = f"{options.images} images, temperature {warm}, mixing {options.mixing}"
    log = options.out / f"{stem}-{of.replace(', ', '-').replace(' ', '-')}.jsonl"

    def network(plan: Selection) -> nn.Module:
        """The network of a plan."""
        return rounded(task, bench.codecs(plan), capacity, inputs, fixed_rate=options.fixed_rate)

    return Case(logged(problem, log, key=of), judges, network)


def rounded(
    task: Task, codecs: Mapping[str, Codec], capacity: int, inputs: stages.Inputs, *, fixed_rate: bool = False
) -> nn.Module:
    """The network under a plan, rounded layer after layer into so many bytes, without the trellis."""
    coded = stages.realise(task.model, codecs, capacity, inputs=inputs, progress=Silent(), fixed_rate=fixed_rate)
    return coded.quantized()


def foreign_inputs(task: Task, options: argparse.Namespace) -> list[Tensor]:
    """Images that the float network was not trained on: what a plan does to them is told by its outputs alone."""
    images = load_data(options.foreign, normalize=options.normalize).train
    stored = (fetch(images, range(at, at + 128))[0] for at in range(0, options.judged, 128))
    return [network_inputs(batch, task.transform, "cpu") for batch in stored]


def measured(name: str, seed: int, found: Case) -> dict[str, Any]:
    """Run one allocator: its loss on the search's images and on others, its evaluations and its own time."""
    watch = Stopwatch(found.problem)
    start = time.process_time()
    allocation = allocator_from_name(name, seed).allocate(watch.watched())
    own = time.process_time() - start - watch.seconds
    return {
        "method": name,
        "evaluations": allocation.evaluations,
        "search": min((loss for _, loss in allocation.curve), default=float("nan")),
        **found.judged(allocation.selection),
        "own_seconds": round(own, 2),
        "plan": allocation.selection,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and spread over the seeds, by network, budget and method, in markdown."""
    names = ("model", "side", "clusters", "fixed", "bits", "images", "mixing", "temperature", "holdout", "limit")
    names = (*names, "method")
    keys = dict.fromkeys(tuple(row.get(name) for name in names) for row in rows)
    head = "network | pixels | clusters | codes | bits | images | mixing | temperature | holdout | evaluations | method"
    lines = [f"| {head} | search loss | judged loss | foreign images | seeds |", "|---" * 15 + "|"]
    for key in keys:
        mine = [row for row in rows if tuple(row.get(name) for name in names) == key]
        cells = (
            key[0],
            key[1] or "all",
            key[2] or "-",
            "fixed" if key[3] else "entropy",
            *key[4:],
            *(spread(r.get(figure, float("nan")) for r in mine) for figure in ("search", "judged", "foreign")),
        )
        lines.append("| " + " | ".join(map(str, cells)) + f" | {len(mine)} |")
    return "\n".join(lines)


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    numbers = torch.tensor(list(values), dtype=torch.float64)
    return f"{float(numbers.mean()):.4f} +- {float(numbers.std()) if len(numbers) > 1 else 0:.4f}"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--bits", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(ALLOCATORS))
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--images", type=int, default=512, help="of the search")
    parser.add_argument("--holdout", type=int, default=512, help="images that choose between finalists")
    parser.add_argument("--temperature", type=float, default=2.0, help="of the performance gap of search and holdout")
    parser.add_argument("--mixing", type=float, default=1.0, help="share of these images that are blended with others")
    parser.add_argument("--foreign", help="data whose training images judge the plans as well")
    parser.add_argument("--clusters", type=int, default=0, help="k-means clusters of a layer; 0 decides about layers")
    parser.add_argument("--fixed-rate", action="store_true", help="bits of codebooks in codes of fixed length (export)")
    parser.add_argument("--side", type=int, help="cut the images to a central square of so many pixels: cheap trials")
    parser.add_argument("--judged", type=int, default=2048, help="images that judge the plans")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for and print the table of all rows."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.out / "rows.jsonl"
    task = make_task(options.model, options.data, weights=options.weights, normalize=options.normalize)
    if options.side:
        task = replace(task, transform=centre(task.transform, options.side))
    for bits in options.bits:
        for seed in options.seeds:
            found = case(task, bits, seed, options)
            for name in options.methods:
                about = {"model": options.model, "bits": bits, "seed": seed, "images": options.images}
                about |= {"side": options.side, "clusters": options.clusters, "holdout": options.holdout}
                about |= {"fixed": options.fixed_rate}
                about |= {"mixing": options.mixing, "temperature": options.temperature}
                row = about | {"limit": options.evaluations} | measured(name, seed, found)
                print(json.dumps(row), flush=True)
                with rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print(table([json.loads(line) for line in rows.read_text().splitlines()]))


if __name__ == "__main__":
    main()
