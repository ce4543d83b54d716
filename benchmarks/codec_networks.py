"""What whole networks ask of the codecs: bytes that are no codes, time to open, time and memory of compensation.

    python benchmarks/codec_networks.py overhead [cifar10_resnet20.safetensors]
    python benchmarks/codec_networks.py opening
    python benchmarks/codec_networks.py compensation [--images 128] [--codec trellis]

ResNet-50 has random weights, batch norms and biases among them: shapes are what matters. Times are those of the
process, on all threads together. Memory is what the process needs beyond its network and its images.
"""

import argparse
import math
import resource
import struct
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ravn.adapters import build_model
from ravn.adapters.weights import fill_weights, load_weights
from ravn.artifact import Artifact, pack, read
from ravn.batchnorm import canonical, shortened
from ravn.codecs import Codec, Encoded, EntropyCodec, TrellisCodec
from ravn.codecs.base import matrix_shape
from ravn.codecs.entropy_coder import SymbolReader
from ravn.codecs.scales import read_scales, spread_table
from ravn.encoding import encode_network
from ravn.layers import weight_layers
from ravn.stages import SAME_RATE, SPARE_BITS

Make = Callable[[float], Codec]
CODECS: dict[str, Make] = {"entropy": EntropyCodec, "trellis": lambda step: TrellisCodec(SAME_RATE * step)}


def randomised(model: nn.Module) -> nn.Module:
    """The network with something else than constants in its batch norms and biases."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + name.endswith(("weight", "var")))
    return model.eval()


class Bottleneck(nn.Module):
    """A block of ResNet-50 (arXiv 1512.03385)."""

    def __init__(self, width: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        down = (nn.Conv2d(width, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
        self.downsample = nn.Sequential(*down) if width != 4 * inner else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        inside = self.bn1(self.conv1(x)).relu()
        inside = self.bn2(self.conv2(inside)).relu()
        return (self.bn3(self.conv3(inside)) + self.downsample(x)).relu()


def resnet50() -> nn.Module:
    """ResNet-50 with random weights: 25.6 million parameters, the customary names."""
    torch.manual_seed(0)
    parts: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False)),
        ("bn1", nn.BatchNorm2d(64)),
        ("relu", nn.ReLU()),
        ("maxpool", nn.MaxPool2d(3, 2, 1)),
    ]
    width = 64
    for number, (inner, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        stages = []
        for block in range(blocks):
            stages.append(Bottleneck(width, inner, 2 if number and not block else 1))
            width = 4 * inner
        parts.append((f"layer{number + 1}", nn.Sequential(*stages)))
    parts += [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(width, 1000))]
    return randomised(nn.Sequential(OrderedDict(parts)))


def codecs_of(model: nn.Module, make: Make, rate: float) -> dict[str, Codec]:
    """A codec for every layer, its step a share of the layer's deviation, which gives about so many bits."""
    layers = [layer.name for layer in weight_layers(model)]
    return {name: make(4 * 2.0**-rate * float(model.get_parameter(name).detach().std())) for name in layers}


def artifact_of(model: nn.Module, name: str, make: Make, rate: float) -> Artifact:
    """The whole network, rounded without compensation; the rest shortened as the pipeline does it."""
    codecs = codecs_of(model, make, rate)
    encoded = encode_network(model, codecs, [])
    rest = {key: tensor for key, tensor in canonical(model).items() if key not in encoded}
    kept = math.ceil(rate) + SPARE_BITS
    tensors = {key: shortened(tensor, kept) if tensor.is_floating_point() else tensor for key, tensor in rest.items()}
    return Artifact(name, {"mean": [0.5] * 3, "std": [0.25] * 3}, encoded, codecs, tensors)


def table_bytes(encoded: Encoded) -> int:
    """Bytes of a payload that are no codes of weights: step, table, or the scales of channels and positions."""
    symbols = encoded.payload[4 if encoded.codec == "entropy" else 6 :]
    size = int.from_bytes(symbols[2:4], "little")
    head = len(encoded.payload) - len(symbols) + 4
    if size:
        return head + size
    positions, spread = struct.unpack_from("<H4xb", symbols, 6)
    reader = SymbolReader(symbols[13:], [spread_table(spread)])
    scales = read_scales(reader, *matrix_shape(encoded.shape), positions)
    return head + 9 + math.ceil(scales.side_bits() / 8)


def overhead(weights: Path | None) -> Iterator[str]:
    """Bytes that are no codes, with heads and tables of the payloads."""
    small = build_model("cifar:resnet20")
    if weights:
        fill_weights(small, load_weights(weights), str(weights))
    else:
        randomised(small)
    for name, model in (("ResNet-20", small), ("ResNet-50", resnet50())):
        for make, rate in product(CODECS.values(), (1.0, 2.0, 4.0)):
            artifact = artifact_of(model, name, make, rate)
            total, layers = len(pack(artifact)), artifact.layers.values()
            tables = sum(map(table_bytes, layers))
            rest = total - sum(e.size_bytes for e in layers) + tables
            codec = next(iter(layers)).codec
            yield f"{name}, {codec}: {total:,} bytes, {rest:,} ({rest / total:.2%}) no codes; {tables:,} of them tables"


def opening() -> Iterator[str]:
    """Time to open and to decode."""
    model = resnet50()
    with tempfile.TemporaryDirectory() as folder:
        float_path, path = Path(folder) / "float.safetensors", Path(folder) / "model.ravn"
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, float_path)
        floats = seconds(lambda: [tensor.clone() for tensor in load_file(float_path).values()])
        yield f"reading {float_path.stat().st_size:,} bytes of float32: {floats:.3f} s"
        for make in CODECS.values():
            path.write_bytes(pack(artifact_of(model, "", make, 2.0)))
            artifact = read(path)
            opened, decoded = seconds(lambda: read(path)), seconds(artifact.state_dict)
            codec = next(iter(artifact.layers.values())).codec
            yield f"{codec}: opening {opened:.3f} s ({opened / floats:.1f} of that), decoding {decoded:.2f} s"


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Least process time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def compensation(images: int, codec: str) -> Iterator[str]:
    """Time and memory of rounding with error compensation."""
    model = resnet50()
    batches: list[Tensor] = list(torch.randn(images, 3, 224, 224).split(16))
    codecs = codecs_of(model, CODECS[codec], 2.0)
    with torch.no_grad():
        model(batches[0])
    before, start = peak_bytes(), time.process_time()
    encoded = encode_network(model, codecs, batches)
    spent, more = time.process_time() - start, peak_bytes() - before
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    inputs = 4 * 256 * 56 * 56 * images
    rate = 8 * sum(e.size_bytes for e in encoded.values()) / (weights / 4)
    yield f"ResNet-50, {images} images of 224 pixels, {codec}, {rate:.2f} bits: {spent / 60:.1f} minutes of one core"
    yield f"{more / 2**20:.0f} MiB; weights take {weights / 2**20:.0f}, inputs of the widest layer {inputs / 2**20:.0f}"


def peak_bytes() -> int:
    """Most memory that the process ever had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "opening", "compensation"))
    parser.add_argument("weights", nargs="?", type=Path, help="safetensors file of ResNet-20")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--codec", choices=CODECS, default="entropy")
    options = parser.parse_args()
    rows = {
        "overhead": lambda: overhead(options.weights),
        "opening": opening,
        "compensation": lambda: compensation(options.images, options.codec),
    }
    for row in rows[options.what]():
        print(row, flush=True)


if __name__ == "__main__":
    main()
