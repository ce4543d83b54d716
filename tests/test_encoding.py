"""From a plan to codes: the capacity is kept and filled, and errors are made up for."""

import copy
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.codecs import ClusterCodec, CodebookCodec, Codec, Encoded, EntropyCodec, Grid, UniformCodec, decoded
from ravn.encoding import (
    coarser,
    encode_layer,
    encode_network,
    encode_within,
    next_coarseness,
    priced_rounding,
    spacing,
)
from ravn.errors import BudgetError, InputError
from ravn.layers import set_weights, weight_layers

Encode = Callable[[Mapping[str, Codec], float], dict[str, Encoded]]


def weights(scale: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (16, 40), "b": (16, 20, 3, 3), "c": (10, 300)}
    return {n: torch.randn(s, generator=generator) * scale * k for k, (n, s) in enumerate(shapes.items(), 1)}


def encoder(tensors: Mapping[str, Tensor]) -> Encode:
    def encode(codecs: Mapping[str, Codec], rate_price: float) -> dict[str, Encoded]:
        return {name: encode_layer(tensors[name], c, None, rate_price=rate_price) for name, c in codecs.items()}

    return encode


def size(encoded: Mapping[str, Encoded]) -> int:
    return sum(e.size_bytes for e in encoded.values())


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 10),
    ).eval()
    # Images are smooth: neighbours are alike, and compensation lives on that.
    images = nn.functional.interpolate(torch.randn(96, 3, 3, 3), size=8, mode="bilinear")
    return model, list(images.split(32))


@pytest.mark.parametrize("share", [0.15, 0.4, 0.7, 0.95, 1.0, 1.3, 2.0, 3.0])
def test_the_capacity_is_filled_and_never_exceeded(share: float) -> None:
    tensors = weights()
    codecs: dict[str, Codec] = {name: EntropyCodec(0.5 * k) for k, name in enumerate(tensors, 1)}
    capacity = round(share * size(encoder(tensors)(codecs, 0.1)))
    used, encoded = encode_within(encoder(tensors), codecs, capacity)
    # Streams are whole words, and a tiny one may change its form: a few words may be left.
    assert min(0.99 * capacity, capacity - 16) <= size(encoded) <= capacity
    for name, codec in codecs.items():
        ratio = used[name].step / codec.step
        assert ratio == pytest.approx(used["a"].step / codecs["a"].step, rel=1e-6)
        assert torch.allclose(
            decoded(encoded[name]) / used[name].step, (decoded(encoded[name]) / used[name].step).round()
        )


def test_a_plan_that_fits_stays_as_it_is() -> None:
    tensors = weights()
    codecs: dict[str, Codec] = {name: EntropyCodec(0.5) for name in tensors}
    expected = encoder(tensors)(codecs, 0.1)
    used, encoded = encode_within(encoder(tensors), codecs, size(expected))
    assert used == codecs
    assert encoded == expected


@pytest.mark.parametrize("capacity", [-5, 0, 20])
def test_a_capacity_below_all_codes_is_refused_with_the_smallest_size(capacity: int) -> None:
    tensors = weights()
    with pytest.raises(BudgetError, match=f"into {capacity} bytes") as caught:
        encode_within(encoder(tensors), {name: EntropyCodec(0.5) for name in tensors}, capacity)
    assert caught.value.smallest_bytes == 3 * 9


def test_a_capacity_beyond_all_codes_is_no_error() -> None:
    tensors = weights()
    tensors["a"][0, 0] = 3000
    codecs: dict[str, Codec] = {name: EntropyCodec(0.5) for name in tensors}
    _, encoded = encode_within(encoder(tensors), codecs, 10**6)
    assert size(encoder(tensors)(codecs, 0.1)) < size(encoded) <= 10**6


def test_a_first_plan_that_can_not_be_encoded_is_an_error() -> None:
    with pytest.raises(InputError, match="levels"):
        encode_within(encoder(weights()), {"a": EntropyCodec(1e-7)}, 10**6)


def test_without_steps_the_price_of_a_bit_makes_room() -> None:
    tensors = weights()
    codecs: dict[str, Codec] = {"a": CodebookCodec(4), "b": ClusterCodec((3, 2, 3)), "c": ClusterCodec((2, 1, 2))}
    full = size(encoder(tensors)(codecs, 0.1))
    used, encoded = encode_within(encoder(tensors), codecs, round(0.93 * full))
    assert used == codecs
    assert 0.9 * full < size(encoded) <= 0.93 * full
    fixed: dict[str, Codec] = {name: UniformCodec(3) for name in tensors}
    with pytest.raises(BudgetError) as caught:
        encode_within(encoder(tensors), fixed, 500)
    assert caught.value.smallest_bytes == size(encoder(tensors)(fixed, 0.0))


def test_no_layers_fit_into_anything() -> None:
    assert encode_within(encoder({}), {}, 100) == ({}, {})


@given(st.floats(0.2, 2.5), st.floats(-6, 6), st.floats(0, 0.5))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_a_size_that_falls_with_the_coarseness_is_met_in_a_few_steps(slope: float, wanted: float, bend: float) -> None:
    def size_at(coarseness: float) -> int:
        return round(2 ** (20 - slope * (coarseness + bend * math.sin(coarseness))))

    target = size_at(wanted)
    tried = [(0.0, size_at(0.0))]
    for _ in range(20):
        if abs(tried[-1][1] - target) <= 0.01 * target:
            break
        following = next_coarseness(tried, target)
        assert following != tried[-1][0]
        # Towards the target, and never beyond what is known to be on its other side.
        assert (following > tried[-1][0]) == (tried[-1][1] > target)
        assert all(following < t for t, size in tried if size < target and t > tried[-1][0] and tried[-1][1] > target)
        tried.append((following, size_at(following)))
    assert abs(tried[-1][1] - target) <= 0.01 * target


@given(st.floats(-4, 4), st.integers(11, 19))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_where_sizes_jump_over_the_target_the_search_closes_in_on_the_jump(jump: float, wanted: int) -> None:
    tried = [(0.0, 2**20 if jump > 0 else 2**10)]
    for _ in range(24):
        following = next_coarseness(tried, 2.0**wanted)
        tried.append((following, 2**20 if following < jump else 2**10))
    low = max(t for t, size in tried if size == 2**20)
    high = min(t for t, size in tried if size == 2**10)
    assert 0 < high - low < 1e-3
    assert low < jump <= high


def test_only_steps_become_coarser() -> None:
    assert coarser(EntropyCodec(0.25), 1.5) == EntropyCodec(0.25 * 2**1.5)
    assert coarser(UniformCodec(3), 1.5) == UniformCodec(3)


def test_spacing_is_the_step_of_an_equal_step_grid() -> None:
    weight = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    assert spacing(weight, EntropyCodec(0.3).grid(weight)) == pytest.approx(0.3)
    grid = UniformCodec(3).grid(weight)
    assert spacing(weight, grid) == pytest.approx(float(grid.levels.diff(dim=1).mean()))
    assert spacing(weight, Grid(torch.ones(1, 1), torch.zeros(1, 1))) == 0


@pytest.mark.parametrize(
    "codec", [EntropyCodec(0.5), UniformCodec(3), CodebookCodec(2), ClusterCodec((1, 2, 0))], ids=str
)
def test_without_price_and_inputs_rounding_is_plain(codec: Codec) -> None:
    weight = weights()["b"]
    assert encode_layer(weight, codec, None, rate_price=0.0) == codec.encode(weight)
    matrix = weight.reshape(16, -1)
    grid = codec.grid(matrix)
    assert torch.equal(
        grid.values(priced_rounding(matrix, grid, price=0.0)).reshape(weight.shape), decoded(codec.encode(weight))
    )


def encoded_network(model: nn.Module, encoded: Mapping[str, Encoded]) -> nn.Module:
    quantized = copy.deepcopy(model)
    set_weights(quantized, [(name, decoded(e)) for name, e in encoded.items()])
    return quantized


@pytest.mark.parametrize(
    "codec", [EntropyCodec(0.1), UniformCodec(3), CodebookCodec(3), ClusterCodec((1, 1, 1))], ids=str
)
def test_compensation_lowers_the_output_error(network: tuple[nn.Module, list[Tensor]], codec: Codec) -> None:
    model, batches = network
    codecs = {layer.name: codec for layer in weight_layers(model)}
    images = torch.cat(batches)
    errors = {}
    for seen in (True, False):
        encoded = encode_network(model, codecs, batches[:2] if seen else [], rate_price=0.0)
        with torch.no_grad():
            errors[seen] = float((encoded_network(model, encoded)(images) - model(images)).square().mean())
    assert errors[True] < 0.7 * errors[False]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_network_stays_and_its_dtypes_are_kept(network: tuple[nn.Module, list[Tensor]], dtype: torch.dtype) -> None:
    model = copy.deepcopy(network[0]).to(dtype).train()
    before = copy.deepcopy(model.state_dict())
    codecs: dict[str, Codec] = {layer.name: EntropyCodec(0.02) for layer in weight_layers(model)}
    seen: list[str] = []
    encoded = encode_network(
        model, codecs, [b.to(dtype) for b in network[1]], progress=lambda names: (seen.append(n) or n for n in names)
    )
    assert seen == list(encoded) == list(codecs)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for name, e in encoded.items():
        assert decoded(e).dtype == dtype
        assert e.shape == tuple(before[name].shape)
        assert (decoded(e) - before[name]).norm() < 0.5 * before[name].norm()


def test_later_layers_make_up_for_earlier_ones() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    inputs = torch.randn(500, 8)
    codecs: dict[str, Codec] = {"0.weight": UniformCodec(2), "1.weight": EntropyCodec(1e-3)}
    encoded = encode_network(model, codecs, [inputs], rate_price=0.0)
    with torch.no_grad():
        made_up = (encoded_network(model, encoded)(inputs) - model(inputs)).square().mean()
        first = {"0.weight": encoded["0.weight"]}
        left = (encoded_network(model, first)(inputs) - model(inputs)).square().mean()
    assert made_up < 0.5 * left


def test_layers_without_products_are_rounded_on_their_own() -> None:
    model = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(12, 3))
    batches = [torch.randint(20, (50, 2), generator=torch.Generator().manual_seed(0))]
    codecs: dict[str, Codec] = {"0.weight": EntropyCodec(0.3), "2.weight": EntropyCodec(0.1)}
    encoded = encode_network(model, codecs, batches)
    assert encoded["0.weight"] == encode_layer(model[0].weight, codecs["0.weight"], None)
    assert encoded["2.weight"] != encode_layer(model[2].weight, codecs["2.weight"], None)
