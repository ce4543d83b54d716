"""Size and speed of exported and packed networks against float ones, as a markdown table.

    OMP_NUM_THREADS=1 python benchmarks/runtime.py [FILE.ravn ...] [--networks timm:resnet50 timm:mobilenetv2_100] \
        [--into docs/experiments.md]

A FILE is measured as it is. A network gets random weights, and each of its layers the equal step that takes about 4
bits of entropy ("entropy", or "spectra" of kernels) or four bits of fixed length ("uniform"): sizes and times don't
depend on what it can do. Times are of the process on as many threads as torch uses, calls in turn, the median of each;
ratios are within this run. Outputs are those of onnxruntime with packed weights, against PyTorch's with float ones.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ravn.adapters import build_model
from ravn.artifact import read
from ravn.codecs import Codec, EntropyCodec, UniformCodec
from ravn.exporters.inputs import example_input
from ravn.exporters.programs import outputs_of
from ravn.exporters.runtimes import onnx_runtimes, torch_runtimes
from ravn.layers import set_weights, weight_layers
from ravn.loading import load
from ravn.metrics.latency import latencies
from ravn.runtime import FixedRate, fixed_rates, unpacked

OPEN, CLOSE = "<!-- runtime -->", "<!-- /runtime -->"
STEPS_IN_DEVIATION = 3.87
"""A Gaussian of 3.87 steps has an entropy of 4 bits."""
CODECS: dict[str, Callable[[Tensor], Codec]] = {
    "entropy": lambda weight: EntropyCodec(float(weight.std()) / STEPS_IN_DEVIATION),
    "spectra": lambda weight: EntropyCodec(float(weight.std()) / STEPS_IN_DEVIATION, spectral=True),
    "uniform": lambda weight: UniformCodec(4, per_channel=False),
}
COLUMNS = (
    "network",
    "bits per weight, fixed rate",
    "ONNX bytes",
    "of the fixed-rate payload",
    "of the float ONNX",
    "outputs differ by",
    "ONNX time, packed / float",
    "int8 ONNX bytes",
    "ONNX time, int8 / float",
    "resident / packed bytes",
    "PyTorch time, packed / float, batch 1",
    "batch 32",
)


def random_network(name: str, kind: str) -> tuple[nn.Module, dict[str, FixedRate]]:
    """A network with random weights on the grid of a codec, and its packed form."""
    torch.manual_seed(0)
    model = build_model(name).eval()
    weights = {layer.name: model.get_parameter(layer.name).detach() for layer in weight_layers(model)}
    layers = fixed_rates({n: CODECS[kind](weight).encode(weight) for n, weight in weights.items()})
    set_weights(model, [(n, unpacked(form)) for n, form in layers.items()])
    return model, layers


def row(title: str, model: nn.Module, layers: Mapping[str, FixedRate], example: Tensor, repeats: int) -> str:
    """One line of the table."""
    ratios: list[float] = []
    for batch, times in ((1, repeats), (32, max(repeats // 8, 2))):
        inputs = torch.randn(batch, *example.shape[1:]).contiguous(memory_format=torch.channels_last)
        runtimes = torch_runtimes(model, layers, {}, inputs, 0)
        taken = latencies({n: runtime.start() for n, runtime in runtimes.items()}, times, time.process_time)
        plain, packed = (latency.median_seconds for latency in taken.values())
        ratios.append(packed / plain)
        if batch == 1:
            resident = [runtime.weight_bytes for runtime in runtimes.values()][1]
    inputs = torch.randn(1, *example.shape[1:])
    onnx = onnx_runtimes(model, layers, inputs)
    calls = {n: runtime.start() for n, runtime in onnx.items()}
    (wanted,), (found,) = outputs_of(model, inputs), list(calls.values())[1]()
    taken = latencies(calls, repeats, time.process_time)
    plain, packed, whole = (latency.median_seconds for latency in taken.values())
    plain_file, packed_file, whole_file = (runtime.file_bytes for runtime in onnx.values())
    coded = sum(form.size_bytes for form in layers.values())
    names = {id(model.get_parameter(name)) for name in layers}
    rest = sum(p.nbytes for p in (*model.parameters(), *model.buffers()) if id(p) not in names)
    cells = (
        title,
        f"{8 * coded / sum(model.get_parameter(name).numel() for name in layers):.2f}",
        f"{packed_file:,}",
        f"{packed_file / (coded + rest):.3f}",
        f"{packed_file / plain_file:.3f}",
        f"{float((wanted - found).abs().max() / wanted.abs().max()):.0e}",
        f"{packed / plain:.2f}",
        f"{whole_file:,}",
        f"{whole / plain:.2f}",
        f"{resident / (coded + rest):.3f}",
        *(f"{ratio:.2f}" for ratio in ratios),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--networks", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--codec", nargs="*", choices=CODECS, default=list(CODECS))
    parser.add_argument("--repeats", type=int, default=16)
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for file in given.files:
        artifact = read(file)
        example = example_input(artifact.preprocessing, None)
        title = f"{artifact.model}, {file.stat().st_size:,} bytes"
        lines.append(row(title, load(file), fixed_rates(artifact.layers), example, given.repeats))
        print(lines[-1], flush=True)
    for name in given.networks:
        for kind in given.codec:
            model, layers = random_network(name, kind)
            lines.append(row(f"{name}, {kind}", model, layers, torch.zeros(1, 3, 224, 224), given.repeats))
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    if given.into is None:
        print(table)
        return
    text = given.into.read_text()
    before, after = text.split(OPEN)[0], text.split(CLOSE)[1]
    given.into.write_text(f"{before}{OPEN}\n{table}\n{CLOSE}{after}")


if __name__ == "__main__":
    main()
