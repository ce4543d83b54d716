"""One policy for the whole front: its plans against separate searches, on other networks, and what it costs.

    python benchmarks/front.py --weights resnet20.safetensors --data cifar10:DIR
    python benchmarks/front.py --model cifar:resnet32 --weights resnet32.safetensors --data cifar10:DIR \
                               --policy runs/front/cifar-resnet20-0.safetensors

Without `--policy`, one training of a policy for all budgets is set against one local search for each, with as many
evaluations in all, and the policy is kept in the folder `--out`. With it, the plans of that policy, which is trained no
further, are set against the knapsack's on the same measured losses. All plans are searched for on `--images` training
images and judged on `--judged` others, and, with `--foreign`, on as many of another data set, rounded as for a file:
layer after layer into the budget, but without the trellis, and with norms and biases as they are. With `--trials` a
plan and the equal one are both rounded, and the holdout images choose, as in `ravn compress`. Options and evaluations
are kept in `--out`, so that a run that is repeated costs only what is new. Own time is process time outside the scoring
of plans. The hypervolume is that of bits and log(loss), as far as bits = 6 and loss = 10.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from search import foreign_inputs
from torch import nn

from ravn import stages
from ravn.adapters import make_task
from ravn.allocators import LocalSearchAllocator, Problem
from ravn.allocators.front_ppo import FrontPPO, FrontSearch
from ravn.allocators.ledger import JointLedger, logged
from ravn.allocators.policies import read_policy
from ravn.allocators.problem import Selection
from ravn.allocators.starts import joint_starts
from ravn.batches import calibration_inputs
from ravn.deciding import limits_of
from ravn.plan import Budget
from ravn.progress import Silent
from ravn.scoring import Judge, Workbench, prepare
from ravn.settings import Settings
from ravn.task import Task

BITS = (0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
END_BITS, END_LOSS = 6.0, 10.0
Loss = Callable[[Selection], float]
COLUMNS = ("model", "seed", "method", "trials", "evaluations", "seconds", "own_seconds", "judged_on", "hypervolume")


@dataclass(frozen=True)
class Front:
    """A network at several budgets, with the images of a seed."""

    problems: list[Problem]
    network: Callable[[int, Selection], nn.Module]
    judges: dict[str, Judge]

    def judged(self, plans: Sequence[Selection]) -> dict[str, list[float]]:
        """L_RAVN of each budget's plan on images that nothing else has seen, by the kind of images."""
        networks = [self.network(budget, plan) for budget, plan in enumerate(plans)]
        return {kind: [judge.loss(network) for network in networks] for kind, judge in self.judges.items()}


@dataclass
class Stopwatch:
    """Process time spent on scoring plans, on the images of the search and of the holdout."""

    seconds: float = 0.0

    def watched(self, loss: Loss) -> Loss:
        """The same loss, on the clock."""

        def clocked(selection: Selection) -> float:
            """The loss of a selection."""
            start = time.process_time()
            value = loss(selection)
            self.seconds += time.process_time() - start
            return value

        return clocked


def front(task: Task, seed: int, options: argparse.Namespace) -> tuple[Front, Stopwatch]:
    """Prepare the options of a network for all budgets, or read them from where they were kept, and the images."""
    settings = Settings(
        calibration_images=options.calibration,
        search_images=options.images,
        holdout_images=options.holdout,
        seed=seed,
        evaluations=options.evaluations,
    )
    layers = stages.checked_layers(task.model)
    capacities = [limits_of(task, layers, Budget(bits_per_weight=b)).capacity_bytes for b in options.bits]
    inputs = stages.draw_inputs(task, settings)
    stem = f"{task.model_name.replace(':', '-')}-{seed}"
    kept = options.out / f"{stem}.pt"
    if not kept.exists():
        start, ends = time.process_time(), (min(capacities), max(capacities))
        made = prepare(
            task.model, layers, inputs.calibration, clusters=0, capacity_bytes=ends[0], largest_bytes=ends[1]
        )
        print(f"prepared in {time.process_time() - start:.1f} s of process time", flush=True)
        torch.save(made, kept)
    names = [layer.name for layer in layers]
    warm = settings.temperature
    search, holdout = (Judge(task.model, names, seen, temperature=warm) for seen in (inputs.search, inputs.holdout))
    bench = Workbench(task.model, layers, torch.load(kept, weights_only=False), search, holdout)
    skip = settings.calibration_images + settings.search_images + settings.holdout_images
    others = calibration_inputs(task, options.judged, seed=seed, skip=skip, device=torch.device("cpu"))
    problems = [bench.problem(capacity, settings.evaluations) for capacity in capacities]
    log = logged(problems[0], options.out / f"{stem}-{options.images}.jsonl", key=f"{options.images}")
    watch = Stopwatch()
    loss, holdout_loss = watch.watched(log.loss), watch.watched(bench.holdout_loss)
    shared = [replace(problem, loss=loss, holdout_loss=holdout_loss) for problem in problems]
    judges = {"training": Judge(task.model, names, others)}
    if options.foreign:
        judges["foreign"] = Judge(task.model, names, foreign_inputs(task, options))

    def network(budget: int, plan: Selection) -> nn.Module:
        """The network of a budget's plan, or of the equal one where that is wanted and better."""
        plans = {plan, problems[budget].equal} if options.trials else {plan}
        codecs, limit = [bench.codecs(p) for p in sorted(plans)], capacities[budget]
        chosen = stages.best_of(task, task.model, codecs, limit, inputs=inputs, settings=settings, progress=Silent())
        return chosen[1].quantized()

    return Front(shared, network, judges), watch


def hypervolume(bits: Sequence[float], losses: Sequence[float]) -> float:
    """Area of (bits, log loss) that a front dominates, up to `END_BITS` and `END_LOSS`; ascending bits."""
    best = [min(losses[: i + 1]) for i in range(len(losses))]
    ends = [*bits[1:], END_BITS]
    return sum((end - at) * max(0.0, math.log(END_LOSS / loss)) for at, end, loss in zip(bits, ends, best, strict=True))


def trained(found: Front, seed: int, options: argparse.Namespace) -> dict[str, tuple[list[Selection], int]]:
    """One policy for all budgets; its bytes are kept."""
    allocations = FrontPPO(seed).allocate_all(found.problems)
    name = f"{options.model.replace(':', '-')}-{seed}.safetensors"
    (options.out / name).write_bytes(allocations[0].policy)
    return {"one policy": ([a.selection for a in allocations], allocations[0].evaluations)}


def separate(found: Front, seed: int, options: argparse.Namespace) -> dict[str, tuple[list[Selection], int]]:
    """A local search for every budget."""
    del options
    allocations = [LocalSearchAllocator(seed).allocate(problem) for problem in found.problems]
    return {"separate local searches": ([a.selection for a in allocations], sum(a.evaluations for a in allocations))}


def cheap(found: Front, seed: int, options: argparse.Namespace) -> dict[str, tuple[list[Selection], int]]:
    """What needs no search: the equal steps and the knapsack on losses measured once for all budgets."""
    del seed, options
    ledger = JointLedger(found.problems)
    starts = joint_starts(ledger)
    pairs = zip(starts, found.problems, strict=True)
    knapsack = [next((plan for plan in start.plans if plan != p.equal), p.equal) for start, p in pairs]
    return {"equal step": ([p.equal for p in found.problems], 0), "knapsack": (knapsack, len(ledger.known))}


def transferred(found: Front, seed: int, options: argparse.Namespace) -> dict[str, tuple[list[Selection], int]]:
    """The plans of a policy from elsewhere, not trained any further."""
    ledger = JointLedger(found.problems)
    starts = joint_starts(ledger)
    search = FrontSearch(FrontPPO(seed, policy=read_policy(options.policy), rounds=0), ledger, starts)
    return {f"policy {options.policy.stem}": (search.proposals(), len(ledger.known))}


def measured(found: Front, watch: Stopwatch, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of all methods."""
    rows = []
    methods = {"cheap": cheap, "transferred": transferred, "separate": separate, "trained": trained}
    for method in (methods[name] for name in options.methods):
        before, start = watch.seconds, time.process_time()
        results = method(found, seed, options)
        seconds, scoring = time.process_time() - start, watch.seconds - before
        for name, (plans, evaluations) in results.items():
            row = {"model": options.model, "seed": seed, "method": name, "evaluations": evaluations}
            row |= {"trials": options.trials}
            row |= {"seconds": round(seconds, 1), "own_seconds": round(seconds - scoring, 1)}
            for kind, losses in found.judged(plans).items():
                area = round(hypervolume(options.bits, losses), 4)
                rows.append(row | {"judged_on": kind, "hypervolume": area, "losses": losses, "plans": plans})
                print(json.dumps({k: v for k, v in rows[-1].items() if k != "plans"}), flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]], bits: Sequence[float]) -> str:
    """All rows, in markdown."""
    lines = ["| " + " | ".join([*COLUMNS, *(f"{b} bits" for b in bits)]) + " |"]
    lines.append("|---" * (len(COLUMNS) + len(bits)) + "|")
    for row in rows:
        lines.append(
            "| " + " | ".join([*(str(row.get(c, False)) for c in COLUMNS), *(f"{x:.4f}" for x in row["losses"])]) + " |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--foreign", help="images of another data set that judge the plans as well")
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--bits", type=float, nargs="+", default=BITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--evaluations", type=int, default=50, help="per budget")
    parser.add_argument("--calibration", type=int, default=256, help="images of the error compensation")
    parser.add_argument("--images", type=int, default=256, help="of the search")
    parser.add_argument("--holdout", type=int, default=512, help="images that choose between finalists")
    parser.add_argument("--judged", type=int, default=2048, help="images that judge the plans")
    parser.add_argument("--policy", type=Path, help="of another network: use it, and train nothing")
    parser.add_argument("--trials", action="store_true", help="let the equal plan stand in, as ravn compress does")
    parser.add_argument("--methods", nargs="+", help="some of cheap, separate, trained, transferred")
    parser.add_argument("--out", type=Path, default=Path("runs/front"))
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for and print the table of all rows."""
    options = arguments()
    options.methods = options.methods or ["cheap", *(["transferred"] if options.policy else ["separate", "trained"])]
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.out / "rows.jsonl"
    task = make_task(options.model, options.data, weights=options.weights, normalize=options.normalize)
    for seed in options.seeds:
        found, watch = front(task, seed, options)
        with rows.open("a") as file:
            for row in measured(found, watch, seed, options):
                file.write(json.dumps(row) + "\n")
    print(table([json.loads(line) for line in rows.read_text().splitlines()], options.bits))


if __name__ == "__main__":
    main()
