"""How near the codecs come to Shannon: bytes that were written, errors that were decoded.

    python benchmarks/codec_limits.py                            Gaussian and Laplace samples
    python benchmarks/codec_limits.py resnet20.safetensors       and the layers of a network

The reference is D(R) = 2^(-2R) for a Gaussian of variance 1, and the Shannon lower bound for a Laplace source, which is
tight at these rates.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ravn.adapters.weights import load_weights
from ravn.codecs import ClusterCodec, Codec, EntropyCodec, TrellisCodec, decoded
from ravn.encoding import RATE_PRICE, encode_layer

RATES = (2.0, 3.0, 4.0)
PASSES = 5


def clusters(count: int) -> Callable[[Tensor, float], Codec]:
    """At most `count` clusters, whose bits and cells are fitted at the price that belongs to the given step."""
    return lambda weight, step: ClusterCodec.fitted(weight, count, RATE_PRICE * step**2 / float(weight.double().var()))


def trellis(states: int) -> Callable[[Tensor, float], Codec]:
    """A trellis whose quantizers have the given step."""
    return lambda _, step: TrellisCodec(step / 2, states)


CODECS: Mapping[str, Callable[[Tensor, float], Codec]] = {
    "entropy": lambda _, step: EntropyCodec(step),
    "cluster, M = 8": clusters(8),
    "trellis, 4 states": trellis(4),
    "trellis, 8 states": trellis(8),
    "trellis, 32 states": trellis(32),
}


def measure(weights: list[Tensor], make: Callable[[Tensor, float], Codec], step: float) -> tuple[float, float]:
    """Bits per weight, and squared error relative to the weights' energy, at one step for all weights."""
    size = error = energy = count = 0.0
    for weight in weights:
        encoded = encode_layer(weight, make(weight, step), None)
        size += 8 * encoded.size_bytes
        error += float((decoded(encoded) - weight).double().square().sum())
        energy += float(weight.double().square().sum())
        count += weight.numel()
    return size / count, error / energy


def near(weights: list[Tensor], make: Callable[[Tensor, float], Codec], rate: float) -> tuple[float, float]:
    """The measurement nearest to a rate, among a few steps."""
    deviation = torch.cat([w.flatten() for w in weights]).double().square().mean().sqrt()
    step, best = 4 * float(deviation) * 2**-rate, (math.inf, math.inf)
    for _ in range(PASSES):
        found = measure(weights, make, step)
        best = min(best, found, key=lambda point: abs(point[0] - rate))
        if abs(best[0] - rate) < 0.005:
            break
        step *= 2 ** (found[0] - rate)
    return best


def print_table(title: str, weights: list[Tensor], show: Callable[[float, float], str]) -> None:
    """One row for each codec, one column for each rate."""
    print(f"\n| {title} | " + " | ".join(f"about {rate:.0f} bits" for rate in RATES) + " |")
    print("|---" * (len(RATES) + 1) + "|")
    for name, make in CODECS.items():
        cells = (show(*near(weights, make, rate)) for rate in RATES)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?", type=Path, help="safetensors file of a network")
    parser.add_argument("--samples", type=int, default=1 << 20, help="samples of each source")
    options = parser.parse_args()
    torch.manual_seed(0)
    size = (max(options.samples >> 10, 1), 1024)
    sources = {
        "Gaussian": (torch.randn(size), 0.0),
        "Laplace": (torch.distributions.Laplace(0.0, 1.0).sample(size), 0.5 * math.log2(math.e / math.pi)),
    }
    for name, (sample, shift) in sources.items():

        def beyond(rate: float, error: float, shift: float = shift) -> str:
            return f"{rate:.3f} bits: +{rate + 0.5 * math.log2(error) - shift:.3f}"

        print_table(f"{name}, bits beyond Shannon", [sample], beyond)
    if options.weights:
        weights = [w.float() for w in load_weights(options.weights).values() if w.dim() >= 2]
        title = f"{options.weights.name}, error in dB"
        print_table(title, weights, lambda rate, error: f"{rate:.3f} bits: {10 * math.log10(error):.2f}")


if __name__ == "__main__":
    main()
