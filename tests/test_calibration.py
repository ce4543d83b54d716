"""What is measured at the input of a layer, against the layer itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ravn.calibration import Moments, weight_moments
from ravn.codecs.base import as_matrix
from ravn.layers import unfolded_inputs


@st.composite
def products(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """Linear layers and convolutions of every stride, padding, dilation and grouping, with inputs."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    bias = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        return nn.Linear(5, 3, bias=bias), torch.randn(*draw(st.lists(st.integers(1, 3), max_size=3)), 5)
    dimensions = draw(st.integers(1, 2))

    def sides(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dimensions))

    groups = draw(st.sampled_from([1, 2, 4]))
    conv = (nn.Conv1d, nn.Conv2d)[dimensions - 1](
        4,
        4 * draw(st.integers(1, 2)),
        sides(1, 3),
        stride=sides(1, 3),
        padding=sides(0, 2),
        dilation=sides(1, 2),
        groups=groups,
        bias=bias,
    )
    return conv, torch.randn(2, 4, *sides(5, 7))


@given(products())
@settings(deadline=None, derandomize=True, max_examples=120)
def test_vectors_times_the_weight_are_the_output(case: tuple[nn.Module, Tensor]) -> None:
    module, inputs = case
    vectors = unfolded_inputs(module, inputs, positions=10**6)
    assert vectors is not None
    with torch.no_grad():
        weight = as_matrix(module.weight)
        products = vectors @ weight.reshape(len(vectors), -1, weight.shape[1]).mT
        outputs = module(inputs) - module(torch.zeros_like(inputs))
    if isinstance(module, nn.Linear):
        expected = outputs.reshape(products.shape)
    else:
        batch, channels = outputs.shape[:2]
        expected = outputs.reshape(batch, len(vectors), channels // len(vectors), -1)
        expected = expected.permute(1, 0, 3, 2).reshape(products.shape)
    assert sorted_rows(products).allclose(sorted_rows(expected), atol=1e-4)


def sorted_rows(vectors: Tensor) -> Tensor:
    """Vectors, shape (groups, vectors, columns), in an order of their own: positions are taken in a random one."""
    key = vectors @ torch.arange(1.0, vectors.shape[-1] + 1)
    return vectors.gather(1, key.argsort(1)[..., None].expand_as(vectors))


def test_few_positions_are_the_same_at_every_call() -> None:
    conv, inputs = nn.Conv2d(1, 1, 1), torch.arange(300.0).reshape(3, 1, 10, 10)
    vectors = unfolded_inputs(conv, inputs, positions=7)
    assert vectors is not None
    assert vectors.shape == (1, 21, 1)
    images = vectors.reshape(3, 7)
    assert torch.equal(images[0] + 100, images[1])
    assert len(images[0].unique()) == 7
    assert torch.equal(vectors, unfolded_inputs(conv, inputs, positions=7))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv3d(3, 2, 1),
        nn.ConvTranspose2d(3, 2, 1),
        nn.Conv2d(3, 2, 1, padding="same"),
        nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"),
        nn.Embedding(3, 2),
    ],
    ids=str,
)
def test_other_modules_are_no_such_products(module: nn.Module) -> None:
    assert unfolded_inputs(module, torch.zeros(1, 3, 4, 4)) is None


class Branches(nn.Module):
    """Calls its layers by position and by name, and one not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.attention = nn.MultiheadAttention(3, 1)
        self.free = nn.Parameter(torch.ones(3, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.second(input=self.first(inputs))
        return self.attention(query=hidden, key=hidden, value=hidden)[0] @ self.free


def test_inputs_are_seen_however_they_are_passed() -> None:
    torch.manual_seed(0)
    model, batch = Branches(), torch.randn(5, 4)
    output = model(batch)
    names = ["idle.weight", "second.weight", "free", "attention.in_proj_weight", "first.weight"]
    seen = dict(weight_moments(model, model, names, [batch]))
    assert list(seen) == ["idle.weight", "free", "first.weight", "second.weight", "attention.in_proj_weight"]
    assert all(seen[name] is None for name in ("idle.weight", "free", "attention.in_proj_weight"))
    hidden = model.first(batch).detach()
    torch.testing.assert_close(seen["second.weight"].second[0], hidden.mT @ hidden / len(hidden))
    assert torch.equal(model(batch), output)


def moments_of(name: str, ours: nn.Module, floats: nn.Module, batches: list[Tensor]) -> Moments | None:
    return dict(weight_moments(ours, floats, [name], batches))[name]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_moments_are_means_over_all_vectors(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (4, 2)), nn.Conv1d(4, 4, 1, groups=2)).to(dtype)
    floats = nn.Sequential(nn.Linear(6, 8), *ours[1:]).to(dtype)
    batches = [torch.randn(n, 6, dtype=dtype) for n in (50, 7)]
    moments = moments_of("2.weight", ours, floats, batches)
    assert moments is not None
    assert moments.second.dtype == moments.cross.dtype == torch.float32
    with torch.no_grad():
        q, x = ((m[:2](torch.cat(batches))).float().reshape(57, 2, 2, 2) for m in (ours, floats))
    torch.testing.assert_close(moments.second, torch.einsum("bgip,bgjp->gij", q, q) / 114, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(moments.cross, torch.einsum("bgip,bgjp->gij", x - q, q) / 114, rtol=1e-2, atol=1e-3)
    same = moments_of("2.weight", ours, ours, batches)
    assert same is not None
    assert torch.equal(same.second, moments.second)
    assert not same.cross.any()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("damping", [1e-9, 0.01, 0.5])
def test_the_target_minimises_the_output_error_with_a_ridge(groups: int, damping: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(groups, 200, 6, generator=generator, dtype=torch.float64)
    q = x + 0.3 * torch.randn(groups, 200, 6, generator=generator, dtype=torch.float64) * x[:, :, :1]
    weight = torch.randn(groups * 4, 6, generator=generator, dtype=torch.float64)
    moments = Moments(q.mT @ q / 200, (x - q).mT @ q / 200)
    target = moments.target(weight, damping)
    for g, rows in enumerate(weight.split(4)):
        ridge = (damping * moments.second[g].diagonal().mean()).sqrt() * torch.eye(6, dtype=torch.float64)
        left = torch.cat([q[g] / 200**0.5, ridge])
        right = torch.cat([x[g] @ rows.T / 200**0.5, ridge @ rows.T])
        expected = torch.linalg.lstsq(left, right).solution.T
        torch.testing.assert_close(target[4 * g : 4 * g + 4], expected)


def test_equal_inputs_leave_the_target_where_it_is() -> None:
    weight = torch.randn(4, 6)
    assert torch.equal(Moments(torch.eye(6)[None], torch.zeros(1, 6, 6)).target(weight), weight)
