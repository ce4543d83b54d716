"""Reports of layers count stored bytes, true errors and all weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, UniformCodec, decoded
from ravn.codecs.kmeans import kmeans
from ravn.encoding import encode_network
from ravn.layers import weight_layers
from ravn.metrics import layer_reports, weight_histogram
from ravn.result import LayerReport

CODECS: list[Codec] = [EntropyCodec(0.2), ClusterCodec((2, 0, 3, 1)), CodebookCodec(2), UniformCodec(2)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(*weights: Tensor) -> nn.Module:
    layers = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0]) for w in weights))
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = weight
    return layers


def reports(model: nn.Module, codecs: list[Codec]) -> tuple[LayerReport, ...]:
    layers = weight_layers(model)
    plan = {layer.name: codec for layer, codec in zip(layers, codecs, strict=True)}
    weights = {layer.name: model.get_parameter(layer.name).detach() for layer in layers}
    return layer_reports(layers, plan, encode_network(model, plan, []), weights)


def test_reports_count_the_stored_bytes_and_the_true_error() -> None:
    model = network(*(random(8, 20, seed=seed) for seed in range(4)))
    plan = {f"{number}.weight": codec for number, codec in enumerate(CODECS)}
    encoded = encode_network(model, plan, [])
    found = reports(model, CODECS)
    assert [report.name for report in found] == list(plan)
    assert [report.codec for report in found] == ["entropy", "cluster", "codebook", "uniform"]
    assert sum(report.size_bytes for report in found) == sum(len(e.payload) for e in encoded.values())
    for report in found:
        assert (report.kind, report.shape) == ("Linear", (8, 20))
        assert report.bits_per_weight == pytest.approx(8 * report.size_bytes / 160)
        before, after = model.get_parameter(report.name).flatten().tolist(), decoded(encoded[report.name])
        noise = sum((w - q) ** 2 for w, q in zip(before, after.flatten().tolist(), strict=True))
        assert report.error_db == pytest.approx(10 * math.log10(noise / sum(w * w for w in before)), abs=1e-3)


def test_a_weight_that_loses_nothing_has_an_error_near_zero() -> None:
    (report,) = reports(network(torch.round(4 * random(6, 10))), [EntropyCodec(1.0)])
    assert report.error_db < -200
    (zero,) = reports(network(torch.zeros(6, 10)), [EntropyCodec(1.0)])
    assert math.isfinite(zero.error_db)


def test_clusters_share_out_all_weights() -> None:
    weight = random(8, 20)
    (report,) = reports(network(weight), [ClusterCodec((2, 0, 3, 1))])
    owner = (weight.reshape(-1, 1) - kmeans(weight.flatten(), 4)).abs().argmin(1)
    assert report.cluster_bits == (2, 0, 3, 1)
    assert report.cluster_shares == pytest.approx([float((owner == m).float().mean()) for m in range(4)])
    assert sum(report.cluster_shares) == pytest.approx(1)


def test_fewer_distinct_weights_make_fewer_clusters() -> None:
    (report,) = reports(network(torch.tensor([[1.0, 1.0, 1.0, 5.0]])), [ClusterCodec((1, 2, 3))])
    assert report.cluster_shares == pytest.approx((0.75, 0.25))
    assert report.cluster_bits == (1, 2)


def test_other_codecs_are_one_cluster_at_their_true_rate() -> None:
    for codec in (EntropyCodec(0.3), CodebookCodec(3), UniformCodec(2)):
        (report,) = reports(network(random(8, 20)), [codec])
        assert (report.cluster_bits, report.cluster_shares) == ((report.bits_per_weight,), (1.0,))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50),
    st.floats(1e-6, 1e6),
    st.integers(1, 30),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
@settings(deadline=None, derandomize=True)
def test_histograms_count_every_weight(values: list[float], scale: float, bins: int, dtype: torch.dtype) -> None:
    before = (scale * torch.tensor(values, dtype=torch.float64)).to(dtype)[:, None]
    after = (0.7 * before).requires_grad_()
    histogram = weight_histogram("head.weight", before, after, bins)
    assert histogram.layer == "head.weight"
    assert len(histogram.edges) == bins + 1
    assert list(histogram.edges) == sorted(set(histogram.edges))
    assert len(histogram.before) == len(histogram.after) == bins
    assert sum(histogram.before) == sum(histogram.after) == len(values)


def test_histograms_count_in_the_right_bins() -> None:
    before, after = torch.tensor([[-3.0, -1.0, 0.5, 3.0]]), torch.tensor([[-2.0, -2.0, 0.5, 2.5]])
    histogram = weight_histogram("a", before, after, bins=3)
    assert histogram.edges == (-3, -1, 1, 3)
    assert histogram.before == (1, 2, 1)
    assert histogram.after == (2, 1, 1)
