"""How well images tell plans apart, by the performance gap at several temperatures.

    python benchmarks/loss_noise.py --weights resnet20.safetensors --data cifar10:DIR --foreign cifar100:DIR \
        --log runs/search/LOG.jsonl --options runs/search/OPTIONS.pt

Takes plans that a search paid for (`benchmarks/search.py` keeps options and logs in `--out`), and measures their
performance gap image by image: on training images that the search has not seen, on the same blended in pairs, and on
foreign images, which the float network has not seen either. The test images are not looked at. For every kind of images
and every temperature the table has the standard error of a plan's gap, relative to the gap and net of what all plans
have in common; the spread of the plans; which share of the images makes half of the gap; and the rank correlation of
the gap with that on foreign images at temperature 1.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from search import foreign_inputs
from torch import Tensor, nn

from ravn import stages
from ravn.adapters import make_task
from ravn.allocators.problem import FLOAT, Selection
from ravn.batches import calibration_inputs
from ravn.fidelity import performance_gap
from ravn.scoring import Judge, Workbench
from ravn.training import mixed

TEMPERATURES = (1.0, 2.0, 4.0, math.inf)


def plans(log: Path, count: int) -> list[Selection]:
    """Plans of a log, evenly spread over the search; measurements of single layers are left out."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    found = [tuple(line["selection"]) for line in lines if FLOAT not in line.get("selection", [FLOAT])]
    return found[:: max(len(found) // count, 1)]


@torch.no_grad()
def gaps(model: nn.Module, network: nn.Module, batches: list[Tensor]) -> Tensor:
    """The performance gap of every image at every temperature, shape (temperatures, images)."""
    floats, ours = (torch.cat([net(batch) for batch in batches]).double() for net in (model, network))
    pairs = [(a[None], b[None]) for a, b in zip(floats, ours, strict=True)]
    return torch.stack([torch.stack([performance_gap(a, b, warm) for a, b in pairs]) for warm in TEMPERATURES])


def ranks(values: Tensor) -> Tensor:
    """Place of every value in ascending order."""
    return values.argsort().argsort().double()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--foreign", required=True, help="data whose training images are foreign to the network")
    parser.add_argument("--log", type=Path, required=True, help="of a search")
    parser.add_argument("--options", type=Path, required=True, help="what the same search prepared, a .pt file")
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--judged", type=int, default=1024, help="images of each kind")
    parser.add_argument("--skip", type=int, default=4096, help="training images that the search may have seen")
    options = parser.parse_args()
    task = make_task(options.model, options.data, weights=options.weights, normalize=options.normalize)
    plain = calibration_inputs(task, options.judged, seed=0, skip=options.skip, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    kinds = {
        "training": plain,
        "training, blended": [mixed(batch, 1.0, generator) for batch in plain],
        "foreign": foreign_inputs(task, options),
    }
    layers = stages.checked_layers(task.model)
    judge = Judge(task.model, [layer.name for layer in layers], plain[:1])
    bench = Workbench(task.model, layers, torch.load(options.options, weights_only=False), judge, judge)
    networks = (bench.network(plan) for plan in plans(options.log, options.plans))
    measured = [{kind: gaps(task.model, network, seen) for kind, seen in kinds.items()} for network in networks]
    truth = torch.stack([found["foreign"][0].mean() for found in measured])
    print(f"{len(measured)} plans, {options.judged} images of each kind\n")
    print(
        "| images | temperature | gap, nats | error of a plan's, % | spread of plans, % | half in % of images | rank |"
    )
    print("|---" * 7 + "|")
    for kind in kinds:
        for place, temperature in enumerate(TEMPERATURES):
            each = torch.stack([found[kind][place] for found in measured])
            mean, apart = each.mean(1), each - each.mean(0)
            error = float((apart.var(1) / each.shape[1]).sqrt().mean() / mean.mean())
            spread = float(mean.std() / mean.mean())
            sums = each.mean(0).sort(descending=True).values.cumsum(0)
            half = float((sums < sums[-1] / 2).double().mean())
            alike = float(torch.corrcoef(torch.stack([ranks(mean), ranks(truth)]))[0, 1])
            cells = (kind, f"{temperature:g}", f"{float(mean.mean()):.3f}", f"{100 * error:.1f}", f"{100 * spread:.1f}")
            print("| " + " | ".join((*cells, f"{100 * half:.1f}", f"{alike:.2f}")) + " |")


if __name__ == "__main__":
    main()
