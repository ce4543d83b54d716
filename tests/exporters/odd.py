"""A small network with everything that an exporter renames, transposes or folds, packed layer by layer."""

import torch
from torch import Tensor, nn

from ravn.codecs import ClusterCodec, Codec, EntropyCodec, TrellisCodec, UniformCodec, VectorCodec
from ravn.layers import set_weights, tied_parameters, weight_layers
from ravn.runtime import FixedRate, fixed_rates, unpacked

CODECS: tuple[Codec, ...] = (
    EntropyCodec(0.01),
    VectorCodec(2, 6),
    ClusterCodec((2, 3, 1)),
    EntropyCodec(0.02, spectral=True),
    TrellisCodec(0.02, spectral=True),
    UniformCodec(7),
)


class Odd(nn.Module):
    """Batch norms behind a convolution and a transposed one; linear layers on three dimensions; a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.wide = nn.Linear(32, 64, bias=False)
        self.narrow = nn.Linear(64, 32)
        self.conv = nn.Conv1d(32, 32, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(32)
        self.up = nn.ConvTranspose1d(32, 32, 2, stride=2)
        self.norm_up = nn.BatchNorm1d(32)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embedding.weight
        self.unused = nn.Linear(16, 16)

    def forward(self, words: Tensor) -> dict[str, Tensor]:
        values = self.embedding(words)
        values = self.narrow(self.wide(values).relu())
        maps = self.norm(self.conv(values.transpose(1, 2)))
        return {"words": self.head(values), "maps": self.norm_up(self.up(maps))}


def odd_network() -> tuple[nn.Module, dict[str, FixedRate]]:
    """The network, its weights on the grids of six codecs, and their fixed-length forms."""
    torch.manual_seed(0)
    model = Odd().eval()
    for norm in (model.norm, model.norm_up):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, -1, 1)
    names = [layer.name for layer in weight_layers(model)]
    forms = fixed_rates(
        {name: CODECS[n % len(CODECS)].encode(model.get_parameter(name)) for n, name in enumerate(names)}
    )
    set_weights(model, [(name, unpacked(form)) for name, form in forms.items()])
    assert tied_parameters(model)
    return model, forms
