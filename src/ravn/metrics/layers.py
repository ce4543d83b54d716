"""What became of every layer."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ravn.codecs import ClusterCodec, Codec, Encoded, decoded
from ravn.plan import Layer
from ravn.result import Histogram, LayerReport


def layer_report(layer: Layer, codec: Codec, encoded: Encoded, weight: Tensor) -> LayerReport:
    """Bits, bytes and error of one layer.

    Args:
        layer: the layer.
        codec: how it is stored.
        encoded: its codes.
        weight: its float weight.
    """
    rate = 8 * encoded.size_bytes / max(layer.parameters, 1)
    bits: tuple[float, ...] = (rate,)
    shares: tuple[float, ...] = (1.0,)
    if isinstance(codec, ClusterCodec):
        cells = codec.cells(weight)
        lowest = torch.tensor([low for low, _, _ in cells[1:]], device=weight.device)
        owner = torch.bucketize(weight.flatten().float(), lowest, right=True)
        members = torch.bincount(owner, minlength=len(cells))
        bits = tuple(float(b) for b in codec.bits[: len(cells)])
        shares = tuple((members / members.sum()).tolist())
    error = (decoded(encoded).float() - weight.float()).square().sum() / weight.float().square().sum().clamp_min(1e-30)
    error_db = 10 * math.log10(max(float(error), 1e-30))
    return LayerReport(
        layer.name,
        layer.kind,
        layer.shape,
        codec.name,
        bits,
        shares,
        encoded.size_bytes,
        rate,
        error_db,
    )


def layer_reports(
    layers: Sequence[Layer],
    codecs: Mapping[str, Codec],
    encoded: Mapping[str, Encoded],
    weights: Mapping[str, Tensor],
) -> tuple[LayerReport, ...]:
    """One report per layer, in their order."""
    return tuple(layer_report(i, codecs[i.name], encoded[i.name], weights[i.name]) for i in layers)


def weight_histogram(name: str, before: Tensor, after: Tensor, bins: int = 101) -> Histogram:
    """Weights of a layer counted before and after, in the same equal bins.

    Args:
        name: name of the weight.
        before: float weight.
        after: weight loaded back from the file.
        bins: number of bins.
    """
    weights = [w.detach().float().flatten() for w in (before, after)]
    reach = max(1e-12, *(float(w.abs().max()) for w in weights))
    edges = torch.linspace(-reach, reach, bins + 1)
    counts = [torch.histc(w, bins, -reach, reach).long() for w in weights]
    return Histogram(name, tuple(edges.tolist()), tuple(counts[0].tolist()), tuple(counts[1].tolist()))
