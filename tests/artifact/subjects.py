"""Small valid files to attack: one network under every codec, with everything around the codes."""

import torch

from ravn.artifact import Artifact
from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, TrellisCodec, UniformCodec, VectorCodec

EXAMPLES: tuple[Codec, ...] = (
    UniformCodec(3),
    UniformCodec(8, per_channel=False),
    ClusterCodec((2, 0, 3)),
    ClusterCodec((8, 8)),
    ClusterCodec((1, 3), entropy_coded=False),
    CodebookCodec(3),
    CodebookCodec(4, entropy_coded=False),
    EntropyCodec(0.1),
    EntropyCodec(1.7),
    EntropyCodec(0.3, spectral=True),
    TrellisCodec(0.2),
    TrellisCodec(1.7, states=4),
    TrellisCodec(0.3, spectral=True),
    VectorCodec(4, 3),
    VectorCodec("channel", 2),
)
"""At least one of every registered codec."""


def subject(*codecs: Codec) -> Artifact:
    """Three layers under each of the codecs, a batch norm, a bias in half precision, tied names."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    weights = {"conv.weight": normal(4, 2, 3, 3), "deep.weight": normal(6, 8).half(), "head.weight": normal(5, 4)}
    used = {f"{place}.{name}": codec for place, codec in enumerate(codecs) for name in weights}
    layers = {name: codec.encode(weights[name.partition(".")[2]]) for name, codec in used.items()}
    tensors = {
        "bn.weight": normal(4),
        "bn.bias": normal(4),
        "bn.running_mean": torch.zeros(4),
        "bn.running_var": torch.full((4,), 0.99999),
        "bn.num_batches_tracked": torch.tensor(17),
        "head.bias": normal(5).half(),
        "wide": normal(3).double() * 1e6,
        "index": torch.arange(6).reshape(2, 3),
        "mask": torch.tensor([True, False, True]),
    }
    tied = {"tail.weight": "0.head.weight", "tail.bias": "head.bias"}
    return Artifact("cifar:resnet20", {"mean": [0.5, 0.25], "classes": ["cat", "dög"]}, layers, used, tensors, tied)


def subjects() -> list[Artifact]:
    """One artifact for every codec, and one of all codecs together."""
    return [*(subject(codec) for codec in EXAMPLES), subject(*EXAMPLES)]
