"""Speed and memory of the codecs on one core, as a markdown table.

    OMP_NUM_THREADS=1 python benchmarks/codec_speed.py

Times are those of the process, the best of a few, so that other work on the machine counts little. Rates are bytes of
float32 weights per second, also as a share of a copy in memory in the same run.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ravn.codecs import (
    ClusterCodec,
    CodebookCodec,
    Codec,
    EntropyCodec,
    TrellisCodec,
    UniformCodec,
    VectorCodec,
)
from ravn.codecs.kmeans import kmeans
from ravn.codecs.packing import pack_bits, unpack_levels
from ravn.encoding import encode_layer

COUNT = 1 << 22


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """Least process time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def resnet50_shapes() -> Iterator[tuple[int, ...]]:
    """Weights of ResNet-50: 25.5 million."""
    yield 64, 3, 7, 7
    width = 64
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            yield inner, width, 1, 1
            yield inner, inner, 3, 3
            yield 4 * inner, inner, 1, 1
            if not block:
                yield 4 * inner, width, 1, 1
            width = 4 * inner
    yield 1000, width


def synthetic(*shape: int) -> Tensor:
    """Synthetic weights."""
    return torch.empty(shape).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))


def peak_bytes() -> int:
    """Most memory that the process ever had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def encoding_cost(codec: Codec) -> tuple[float, float]:
    """Time to encode ResNet-50's shapes, and memory in sizes of all weights; needs a process of its own."""
    torch.set_num_threads(1)
    encode_layer(synthetic(10, 10), codec, None)
    weights = [synthetic(*shape) for shape in resnet50_shapes()]
    before = peak_bytes()
    spent = seconds(lambda: [encode_layer(weight, codec, None) for weight in weights], 1)
    return spent, (peak_bytes() - before) / (4 * sum(weight.numel() for weight in weights))


def encoding_rows() -> Iterator[tuple[str, str, str]]:
    """Time and memory."""
    coders = (
        EntropyCodec(0.01),
        ClusterCodec((3, 2, 1, 1, 2, 3)),
        TrellisCodec(0.005),
        UniformCodec(4),
        CodebookCodec(4),
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for codec, (spent, share) in zip(coders, pool.imap(encoding_cost, coders), strict=True):
            yield f"{codec.name}: encode ResNet-50", f"{spent:.1f} s, memory {share:.1f} x weights", ""


def rate_row(what: str, call: Callable[[], Any], copy: float) -> tuple[str, str, str]:
    """A rate, and its share of that of a copy."""
    spent = seconds(call)
    return what, f"{4 * COUNT / spent / 1e9:.2f} GB/s", f"{copy / spent:.2f}"


def decoding_rows(copy: float) -> Iterator[tuple[str, str, str]]:
    """Whole codecs."""
    codecs: tuple[Codec, ...] = (
        EntropyCodec(0.01),
        EntropyCodec(0.001),
        TrellisCodec(0.005),
        ClusterCodec((3, 2, 1, 1, 2, 3)),
        ClusterCodec((3, 2, 1, 1, 2, 3), entropy_coded=False),
        CodebookCodec(4),
        *(CodebookCodec(bits, entropy_coded=False) for bits in (3, 4, 8)),
        *(UniformCodec(bits) for bits in (3, 4, 8)),
        VectorCodec(4, 6),
    )
    weight = synthetic(1024, COUNT // 1024)
    for codec in codecs:
        encoded = codec.encode(weight)
        bits = 8 * encoded.size_bytes / COUNT
        yield rate_row(f"{codec.name}: decode, {bits:.1f} bits", lambda c=codec, e=encoded: c.decode(e), copy)


def packing_rows(copy: float) -> Iterator[tuple[str, str, str]]:
    """Fixed-length codes, and the look-up of their levels."""
    for bits in range(1, 9):
        codes = np.random.default_rng(0).integers(0, 1 << bits, COUNT)
        levels = np.linspace(-1, 1, 1 << bits, dtype=np.float32)
        data = pack_bits(codes, bits)
        yield rate_row(f"pack {bits} bits", lambda c=codes, b=bits: pack_bits(c, b), copy)
        yield rate_row(f"unpack {bits} bits to levels", lambda d=data, v=levels: unpack_levels(d, v, COUNT), copy)


def kmeans_rows() -> Iterator[tuple[str, str, str]]:
    """k-means in one dimension."""
    generator = np.random.default_rng(0)
    for name, sample in (("Gaussian", generator.normal(size=10**6)), ("t(3)", generator.standard_t(3, 10**6))):
        points = torch.from_numpy(sample.astype(np.float32))
        yield f"k-means, 10^6 {name} points, k = 256", f"{seconds(lambda p=points: kmeans(p, 256)):.2f} s", ""


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print("| what | figure | of memcpy |\n|---|---|---|")
    for row in encoding_rows():
        print("| " + " | ".join(row) + " |", flush=True)
    source, target = np.ones(COUNT, np.float32), np.zeros(COUNT, np.float32)
    copy = seconds(lambda: np.copyto(target, source), 10)
    print(f"| memcpy | {4 * COUNT / copy / 1e9:.1f} GB/s | 1 |")
    for rows in (kmeans_rows(), packing_rows(copy), decoding_rows(copy)):
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
