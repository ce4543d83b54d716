"""How much is there to decide between layers: what a byte is worth in each group of them, under the rounding of a file.

    python benchmarks/slopes.py --weights resnet20.safetensors --data cifar10:DIR --foreign cifar100:DIR --bits 1.0 2.0

From the equal plan, the steps of one group of neighbouring layers at a time are made coarser and finer, and the whole
network is rounded anew, layer after layer, each on the inputs that those before it give; without the trellis, and with
norms and biases as they are. Every network is rounded once for each of `--seeds`, which draw the calibration images,
and judged by the performance gap on `--judged` blended training images and as many of another data set. If a byte is
worth the same everywhere, no allocation beats the equal plan. What the best one would gain is estimated from parabolas
through the three losses of every group, bytes being equal and groups not interacting.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from search import foreign_inputs
from torch import Tensor

from ravn import stages
from ravn.adapters import make_task
from ravn.batches import calibration_inputs
from ravn.codecs import Codec, EntropyCodec
from ravn.encoding import coarser, encode_network
from ravn.plan import Budget
from ravn.progress import Silent
from ravn.scoring import Judge
from ravn.scoring.fisher import fisher_information, step_octaves
from ravn.scoring.workbench import filling_step
from ravn.settings import Settings
from ravn.stages import Coded, Inputs
from ravn.task import Task
from ravn.training import mixed

Measured = tuple[float, list[float]]
"""Bytes of the codes, and log loss on each kind of images; means over the draws of calibration images."""


@dataclass(frozen=True)
class Rounding:
    """A network that can be rounded under any plan, and the judges of what comes out."""

    task: Task
    draws: Sequence[Inputs]
    judges: Mapping[str, Judge]

    def equal(self, bits: float) -> dict[str, Codec]:
        """The equal plan that fills a file of so many bits per weight."""
        model, layers = self.task.model, stages.checked_layers(self.task.model)
        names, inputs = [layer.name for layer in layers], self.draws[0]
        limit = Budget(bits_per_weight=bits).limit_bytes(sum(p.numel() for p in model.parameters()))
        capacity = limit - stages.floor_of(self.task, model, layers, limit).overhead_bytes
        octaves = step_octaves(fisher_information(model, names, inputs.calibration), names)
        step = filling_step(model, names, capacity, octaves)
        plan = {name: EntropyCodec(step * 2 ** octaves[name], spectral=True) for name in names}
        return stages.realise(model, plan, capacity, inputs=inputs, progress=Silent()).codecs

    def measured(self, plan: Mapping[str, Codec]) -> Measured:
        """Round a network under a plan as it stands, once for every draw, and judge it."""
        found = []
        for inputs in self.draws:
            encoded = encode_network(self.task.model, plan, inputs.calibration)
            network = Coded(self.task.model, dict(plan), encoded).quantized()
            losses = [math.log(judge.loss(network)) for judge in self.judges.values()]
            found.append([sum(e.size_bytes for e in encoded.values()), *losses])
        size, *losses = np.mean(found, axis=0).tolist()
        return size, losses


def grouped(names: Sequence[str], groups: int) -> list[list[str]]:
    """Neighbouring layers, as many in each group as in the others or one more."""
    return [list(part) for part in np.array_split(np.array(names), groups)]


def best_gain(slopes: Sequence[tuple[float, float, float]], reach: float) -> float:
    """What the best allocation would change the log loss by, as parabolas without interaction have it.

    Args:
        slopes: of every group: bytes, first and second derivative of the log loss, all per octave.
        reach: octaves by which a group was moved; beyond them the parabolas say nothing.
    """
    size, first, second = (np.array(column) for column in zip(*slopes, strict=True))
    second = second.clip(1e-3)  # one that bends downwards has its best at either end
    low, high = -1.0, 1.0
    for _ in range(60):
        price = (low + high) / 2
        moves = ((price * size - first) / second).clip(-reach, reach)
        low, high = (price, high) if (size * moves).sum() < 0 else (low, price)
    return float((first * moves + second * moves**2 / 2).sum())


def table(rounding: Rounding, bits: float, options: argparse.Namespace) -> None:
    """Print what a byte is worth in every group at one budget."""
    plan, kinds = rounding.equal(bits), list(rounding.judges)
    base_bytes, base = rounding.measured(plan)
    losses = ", ".join(f"{math.exp(value):.4f} on {kind} images" for kind, value in zip(kinds, base, strict=True))
    print(f"\n{options.model} at {bits} bits, equal plan: {base_bytes:.0f} bytes of codes, gap {losses}\n")
    print(f"| layers | octaves | bytes | {' | '.join(f'log loss, {kind} | per kB' for kind in kinds)} |")
    print("|---" * (3 + 2 * len(kinds)) + "|")
    slopes: list[list[tuple[float, float, float]]] = [[] for _ in kinds]
    for group in grouped(list(plan), options.groups):
        ends = []
        for move in (-options.octaves, options.octaves):
            moved = {name: coarser(codec, move) if name in group else codec for name, codec in plan.items()}
            size, found = rounding.measured(moved)
            more, changes = size - base_bytes, [value - old for value, old in zip(found, base, strict=True)]
            ends.append((more, changes))
            cells = " | ".join(f"{change:+.4f} | {1000 * change / more:+.4f}" for change in changes)
            title = group[0] if len(group) == 1 else f"{group[0]} ... {group[-1]}"
            print(f"| {title} | {move:+} | {more:+.0f} | {cells} |", flush=True)
        (more, finer), (less, wider) = ends
        for kind, (down, up) in enumerate(zip(finer, wider, strict=True)):
            step = options.octaves
            slopes[kind].append(((less - more) / (2 * step), (up - down) / (2 * step), (up + down) / step**2))
    gains = ", ".join(
        f"{best_gain(mine, options.octaves):+.3f} on {kind} images" for kind, mine in zip(kinds, slopes, strict=True)
    )
    print(f"\nbest allocation, log loss against the equal plan's: {gains}")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--foreign", required=True, help="data whose training images judge as well")
    parser.add_argument("--normalize", default="imagenet")
    parser.add_argument("--bits", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--groups", type=int, default=7, help="of neighbouring layers")
    parser.add_argument("--octaves", type=float, default=0.5, help="by which the steps of a group are moved")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--judged", type=int, default=2048, help="images that judge, of each kind")
    return parser.parse_args()


def blended_inputs(task: Task, options: argparse.Namespace, skip: int) -> list[Tensor]:
    """Training images, blended with one another; the first draw of calibration images holds none of them."""
    generator = torch.Generator().manual_seed(0)
    drawn = calibration_inputs(task, options.judged, seed=min(options.seeds), skip=skip, device=torch.device("cpu"))
    return [mixed(batch, 1.0, generator) for batch in drawn]


def main() -> None:
    """Measure what is asked for."""
    options = arguments()
    task = make_task(options.model, options.data, weights=options.weights, normalize=options.normalize)
    names = [layer.name for layer in stages.checked_layers(task.model)]
    draws = [stages.draw_inputs(task, Settings(seed=seed)) for seed in options.seeds]
    blended = blended_inputs(task, options, Settings().calibration_images)
    judges = {
        "blended": Judge(task.model, names, blended, fidelity=0.0, temperature=2.0),
        "foreign": Judge(task.model, names, foreign_inputs(task, options), fidelity=0.0),
    }
    rounding = Rounding(task, draws, judges)
    for bits in options.bits:
        table(rounding, bits, options)


if __name__ == "__main__":
    main()
