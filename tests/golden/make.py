"""Writes the golden files; they are written once and must be readable for ever.

A file is never written anew: a change of the format gets a new file beside the old ones. `write_golden` therefore
skips what is there. From the root of the repository: `python tests/golden/make.py`.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ravn.artifact import Artifact, pack, unpack
from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, TrellisCodec, UniformCodec, VectorCodec

FOLDER = Path(__file__).parent


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layered(weights: dict[str, Tensor], codecs: dict[str, Codec], tensors: dict[str, Tensor]) -> Artifact:
    layers = {name: codecs[name].encode(weight) for name, weight in weights.items()}
    return Artifact("", {}, layers, codecs, tensors)


def one_codec(*codecs: Codec) -> Artifact:
    """The same few weights under every given codec: ordinary ones, and the shapes and values at the edge."""
    weights = {
        "conv": normal(4, 3, 3, 3),
        "half": normal(5, 9, seed=1).half(),
        "brain": normal(5, 9, seed=2).bfloat16(),
        "double": normal(2, 30, seed=3).double(),
        "outlier": torch.cat([normal(50, seed=4), torch.tensor([20.0])]),
        "skewed": normal(16, 20, seed=5).pow(3) / 4,
        "constant": torch.full((3, 4), -0.37),
        "zero": torch.zeros(3, 4),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(0.71),
    }
    named = {f"{name}.{n}": codec for n, codec in enumerate(codecs) for name in weights}
    return layered({name: weights[name.split(".")[0]] for name in named}, named, {})


def network() -> Artifact:
    """Everything around the codes: batch norms, buffers, tied names, preprocessing, and all codecs together."""
    weights = {
        "stem.weight": normal(8, 3, 3, 3),
        "deep.weight": normal(8, 4, 3, 3, seed=1),
        "embed.weight": normal(11, 8, seed=2),
        "head.weight": normal(5, 8, seed=3),
    }
    codecs: dict[str, Codec] = {
        "stem.weight": UniformCodec(6),
        "deep.weight": ClusterCodec((2, 1, 3)),
        "embed.weight": CodebookCodec(3),
        "head.weight": EntropyCodec(0.3),
    }
    tensors = {
        "norm.weight": normal(8, seed=4),
        "norm.bias": normal(8, seed=5),
        "norm.running_mean": torch.zeros(8),
        "norm.running_var": torch.full((8,), 0.99999),
        "norm.num_batches_tracked": torch.tensor(17),
        "head.bias": normal(5, seed=6),
        "half": normal(3, seed=7).half(),
        "positions": torch.arange(6).reshape(2, 3),
        "mask": torch.tensor([True, False, True]),
    }
    artifact = layered(weights, codecs, tensors)
    preprocessing = {"mean": [0.5, 0.25], "size": [8, 8], "classes": ["cat", "dög"]}
    tied = {"tail.weight": "embed.weight", "tail.bias": "head.bias"}
    return Artifact("test:net", preprocessing, artifact.layers, codecs, tensors, tied, "ppo")


def scaled() -> Artifact:
    """Weights whose channels and kernel positions differ in scale."""
    weights = {
        "conv": normal(24, 8, 3, 3) * normal(24, 1, 1, 1, seed=1).exp2() * normal(1, 8, 1, 1, seed=2).exp2(),
        "linear": normal(40, 24, seed=3) * (2 * normal(40, 1, seed=4)).exp2(),
        "depthwise": normal(48, 1, 5, 5, seed=5) * normal(48, 1, 1, 1, seed=6).exp2() * normal(5, 5, seed=7).exp2(),
    }
    return layered(weights, dict.fromkeys(weights, EntropyCodec(1.5)), {})


def spectral() -> Artifact:
    """Kernels of several sides as spectra, beside weights that have none."""
    weights = {
        "conv": normal(24, 8, 3, 3) + 2 * normal(24, 8, 1, 1, seed=1),
        "signal": normal(8, 4, 5, seed=2).half(),
        "depthwise": normal(24, 1, 7, 7, seed=3),
        "linear": normal(20, 24, seed=4),
    }
    codecs = {name: EntropyCodec(1.5, spectral=True) for name in weights}
    return layered(weights, codecs | {"signal": TrellisCodec(0.7, spectral=True)}, {})


def mirrored() -> Artifact:
    """What the trellis writes since its two quantizers share their tables: with scales and without, wide and narrow."""
    weights = {
        "conv": normal(24, 8, 3, 3) * normal(24, 1, 1, 1, seed=1).exp2() * normal(1, 8, 1, 1, seed=2).exp2(),
        "depthwise": normal(48, 1, 5, 5, seed=5) * normal(48, 1, 1, 1, seed=6).exp2(),
        "few": normal(2, 4, seed=3),
        "flat": normal(700, seed=4),
        "outlier": torch.cat([normal(50, seed=4), torch.tensor([200.0])]),
        "zero": torch.zeros(9, 9),
    }
    codecs: dict[str, Codec] = {f"{name}.{n}": TrellisCodec(s, n) for name in weights for n, s in ((8, 1.5), (32, 0.9))}
    return layered({name: weights[name.split(".")[0]] for name in codecs}, codecs, {})


GOLDEN = {
    "fixed": lambda: one_codec(ClusterCodec((2, 0, 3), entropy_coded=False)),
    "cluster": lambda: one_codec(ClusterCodec((2, 0, 3)), ClusterCodec((8, 8))),
    "codebook": lambda: one_codec(CodebookCodec(3), CodebookCodec(4, entropy_coded=False)),
    "entropy": lambda: one_codec(EntropyCodec(0.1), EntropyCodec(1.7)),
    "scaled": scaled,
    "spectral": spectral,
    "trellis": lambda: one_codec(TrellisCodec(0.1), TrellisCodec(0.8, states=4)),
    "vector": lambda: one_codec(
        VectorCodec(2, 3), VectorCodec(4, 5), VectorCodec("kernel", 2), VectorCodec("channel", 1)
    ),
    "uniform": lambda: one_codec(UniformCodec(3), UniformCodec(8, per_channel=False)),
    "network": network,
    "mirrored": mirrored,
}


def write_golden() -> None:
    """Write every file that isn't there, and what must be read from it."""
    for name, build in GOLDEN.items():
        path = FOLDER / f"{name}.ravn"
        if not path.exists():
            data = pack(build())
            path.write_bytes(data)
            state = {key: value.clone() for key, value in unpack(data).state_dict().items()}
            save_file(state, FOLDER / f"{name}.safetensors")


if __name__ == "__main__":
    write_golden()
