"""What 8-bit activations cost: ONNX files with and without them on the same images, as a markdown table.

    OMP_NUM_THREADS=1 python benchmarks/int8_accuracy.py hf:DIR imagenet:mobilenetv2_folded=FILE timm:resnet50

Weights have 7 bits and a step for every output channel, which int8 holds, and are packed in both files. A network
without a file of weights is random, its batch norms estimated on images: no accuracy, but outputs that agree or not.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ravn.adapters import make_task
from ravn.batches import calibration_inputs, drawn, in_order, size
from ravn.batchnorm import reestimated
from ravn.codecs import UniformCodec
from ravn.exporters.onnx_graph import to_onnx
from ravn.exporters.programs import traced
from ravn.exporters.sessions import session
from ravn.layers import set_weights, weight_layers
from ravn.runtime import fixed_rates, unpacked
from ravn.task import Task

CALIBRATION, BATCH = 128, 16
BITS = 7
"""Of a weight: the most whose levels, odd multiples of half a step, are 8-bit integers."""
COLUMNS = (
    "network",
    "images",
    "top-1 %, float activations",
    "8 bits",
    "same class %",
    "outputs' error",
    "bytes",
    "8 bits",
)


def _inputs(task: Task) -> list[Tensor]:
    return calibration_inputs(task, CALIBRATION, seed=0, batch_size=BATCH, device=torch.device("cpu"))


def row(name: str, task: Task, images: int) -> str:
    """One line of the table."""
    model = task.model
    weights = {layer.name: model.get_parameter(layer.name).detach() for layer in weight_layers(model)}
    forms = fixed_rates({n: UniformCodec(BITS).encode(weight) for n, weight in weights.items()})
    set_weights(model, [(n, unpacked(form)) for n, form in forms.items()])
    calibration = _inputs(task)
    program = traced(model, calibration[0][:1])
    files = [to_onnx(program, forms, {}, calibration=batches).data for batches in ((), calibration)]
    runs = [session(data) for data in files]
    shown = drawn(task.test, images, seed=0) if task.test is not None else drawn(task.validation, images, seed=0)
    right, same, error, energy = [0, 0], 0, 0.0, 0.0
    for stored, labels in in_order(shown, BATCH):
        plain, whole = (run(task.transform(stored).contiguous())[0] for run in runs)
        for at, logits in enumerate((plain, whole)):
            right[at] += int((logits.argmax(1) == labels).sum())
        same += int((plain.argmax(1) == whole.argmax(1)).sum())
        error += float((plain - whole).square().sum())
        energy += float((plain - plain.mean(1, keepdim=True)).square().sum())
    count = size(shown)
    cells = (
        name,
        f"{count:,}",
        *(f"{100 * hits / count:.2f}" for hits in right),
        f"{100 * same / count:.1f}",
        f"{100 * (error / energy) ** 0.5:.1f} %",
        *(f"{len(data):,}" for data in files),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("networks", nargs="+", metavar="NAME[=WEIGHTS]")
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for named in given.networks:
        name, _, weights = named.partition("=")
        task = make_task(name, given.data, weights=Path(weights) if weights else None, pretrained=False)
        if not weights:
            torch.manual_seed(0)
            task.model.load_state_dict(reestimated(task.model, _inputs(task)).state_dict())
        print(row(name if weights else f"{name}, random", task, given.images), flush=True)


if __name__ == "__main__":
    main()
