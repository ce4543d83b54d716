"""Weights are found under their first names, and a layer is the product that `unfolded_inputs` says it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.layers import owner, set_weights, tied_parameters, unfolded_inputs, weight_layers


class Zoo(nn.Module):
    """One of every kind of layer; the head is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(2, 4, 3)
        self.plane = nn.Sequential(nn.Conv2d(4, 8, (3, 1), groups=2), nn.BatchNorm2d(8))
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.space = nn.Conv3d(1, 2, 3, bias=False)
        self.up = nn.ConvTranspose2d(3, 5, 2)
        self.words = nn.Embedding(10, 6)
        self.attention = nn.MultiheadAttention(6, 2)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 10)
        self.head.weight = self.words.weight
        self.scale = nn.Parameter(torch.ones(3, 3))
        self.again = self.line


def test_all_weights_are_layers_once_and_under_their_first_name() -> None:
    found = [(layer.name, layer.kind, layer.shape) for layer in weight_layers(Zoo())]
    assert found == [
        ("scale", "Zoo", (3, 3)),
        ("line.weight", "Conv1d", (4, 2, 3)),
        ("plane.0.weight", "Conv2d", (8, 2, 3, 1)),
        ("depthwise.weight", "Conv2d", (8, 1, 3, 3)),
        ("space.weight", "Conv3d", (2, 1, 3, 3, 3)),
        ("up.weight", "ConvTranspose2d", (3, 5, 2, 2)),
        ("words.weight", "Embedding", (10, 6)),
        ("attention.in_proj_weight", "MultiheadAttention", (18, 6)),
        ("attention.out_proj.weight", "NonDynamicallyQuantizableLinear", (6, 6)),
    ]
    assert [layer.parameters for layer in weight_layers(nn.Linear(6, 10))] == [60]


def test_tied_parameters_name_the_first_name() -> None:
    tied = {"head.weight": "words.weight", "again.weight": "line.weight", "again.bias": "line.bias"}
    assert tied_parameters(Zoo()) == tied
    assert tied_parameters(nn.Linear(2, 2)) == {}


def test_the_owner_holds_the_weight() -> None:
    zoo = Zoo()
    for layer in weight_layers(zoo):
        assert getattr(owner(zoo, layer.name), layer.name.rpartition(".")[2]) is zoo.get_parameter(layer.name)


def test_set_weights_copies_in_place_and_keeps_the_dtype() -> None:
    zoo = Zoo().to(torch.float64)
    before, weight = zoo.head.weight, torch.rand(10, 6)
    set_weights(zoo, [("words.weight", weight)])
    assert zoo.head.weight is before
    assert torch.equal(before, weight.double())


def seeded(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def product(module: nn.Module, inputs: Tensor, positions: int) -> Tensor:
    """Output vectors by `unfolded @ weight_matrix^T`, shape (images, vectors of each, channels)."""
    vectors = unfolded_inputs(module, inputs, positions)
    matrix = module.weight.reshape(len(vectors), len(module.weight) // len(vectors), -1)
    outputs = vectors @ matrix.mT + module.bias.reshape(len(vectors), 1, -1)
    return outputs.permute(1, 0, 2).reshape(len(inputs), -1, len(module.weight))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    dimensions, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 4]))
    kernel, stride, dilation, padding = (
        tuple(draw(st.integers(low, high)) for _ in range(dimensions)) for low, high in ((1, 3), (1, 3), (1, 2), (0, 2))
    )
    sizes = [draw(st.integers(d * (k - 1) + 1, 8)) for d, k in zip(dilation, kernel, strict=True)]
    kind = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    module = kind(4, groups * draw(st.integers(1, 3)), kernel, **options, dtype=torch.float64)
    inputs = seeded((2, 4, *sizes))
    if dimensions == 2 and draw(st.booleans()):
        inputs = inputs.to(memory_format=torch.channels_last)
    return module, inputs


@given(convolutions())
@settings(deadline=None, derandomize=True, max_examples=80)
def test_a_convolution_is_the_product_of_its_unfolded_inputs(case: tuple[nn.Module, Tensor]) -> None:
    module, inputs = case
    with torch.no_grad():
        expected = module(inputs).flatten(2).mT
        found, some = (product(module, inputs, positions) for positions in (10_000, 3))
    # In which order positions come is not promised: vectors are compared as sets, by how far they
    # lie in a random direction.
    direction = seeded((expected.shape[-1],))
    torch.testing.assert_close((found @ direction).sort().values, (expected @ direction).sort().values)
    assert some.shape[1] == min(3, expected.shape[1])
    assert (torch.cdist(some, expected).amin(-1) < 1e-6).all()


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (3,)])
def test_a_linear_layer_is_the_product_of_its_inputs(shape: tuple[int, ...]) -> None:
    module, inputs = nn.Linear(3, 7, dtype=torch.float64), seeded(shape)
    vectors = unfolded_inputs(module, inputs)
    torch.testing.assert_close(vectors[0] @ module.weight.T + module.bias, module(inputs).reshape(-1, 7))


def test_the_same_positions_are_taken_in_every_image_and_at_every_call() -> None:
    module, places = nn.Conv2d(1, 1, 1), torch.arange(400.0).reshape(1, 1, 20, 20)
    first = unfolded_inputs(module, torch.cat([places, 1000 + places]), 50).flatten()
    assert len(first[:50].unique()) == 50
    assert torch.equal(first[:50] + 1000, first[50:])
    assert torch.equal(unfolded_inputs(module, places, 50).flatten(), first[:50])


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv3d(1, 1, 1), (1, 1, 2, 2, 2)),
        (nn.ConvTranspose2d(1, 1, 1), (1, 1, 2, 2)),
        (nn.Conv2d(1, 1, 3, padding="same"), (1, 1, 4, 4)),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), (1, 1, 4, 4)),
        (nn.Embedding(3, 2), (1, 3)),
    ],
    ids=str,
)
def test_what_is_no_such_product_has_no_unfolded_inputs(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert unfolded_inputs(module, torch.zeros(shape)) is None
