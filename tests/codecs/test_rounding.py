"""Rounding with a price and with compensation, against slow and plain references."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ravn.codecs import ClusterCodec, CodebookCodec, Codec, EntropyCodec, Grid, UniformCodec, nearest
from ravn.codecs.rounding import BLOCK, DAMPING, Curvature, cheapest, compensate, curvature

COARSE = (EntropyCodec(0.8), UniformCodec(2), CodebookCodec(2), ClusterCodec((1, 0, 1)))
every_codec = pytest.mark.parametrize("codec", COARSE, ids=str)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def correlated(groups: int, columns: int, seed: int = 0) -> Tensor:
    """Second moments of inputs that have much in common, and unequal power."""
    mixing = normal(groups, columns, columns, seed=seed) / columns**0.5 + 0.5
    return mixing @ mixing.mT + 0.1 * torch.eye(columns)


def output_error(weight: Tensor, values: Tensor, second: Tensor) -> float:
    error = (weight - values).reshape(len(second), -1, weight.shape[1])
    return float(((error @ second) * error).sum())


def entropy(codes: Tensor) -> float:
    shares = torch.bincount(codes.flatten()).double() / codes.numel()
    return float(torch.special.entr(shares).sum())


@st.composite
def priced_columns(draw: st.DrawFn) -> tuple[Tensor, Grid, float]:
    """Values, equally spaced levels of any lengths, and a price so low that two levels away is never cheaper."""
    step = draw(st.floats(0.1, 3))
    count = draw(st.integers(1, 9))
    lengths = torch.tensor(draw(st.lists(st.floats(0, 12), min_size=count, max_size=count)), dtype=torch.float64)
    values = torch.tensor(draw(st.lists(st.floats(-12, 12), min_size=1, max_size=8)), dtype=torch.float64)
    levels = (torch.arange(count, dtype=torch.float64) - count // 2) * step
    spread = max(float(lengths.max() - lengths.min()), 1e-9)
    return values, Grid(levels[None], lengths[None]), draw(st.floats(0, 1)) * 2 * step**2 / spread


@given(priced_columns())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_the_cheapest_code_is_the_cheapest_of_all_levels(case: tuple[Tensor, Grid, float]) -> None:
    values, grid, price = case
    costs = (values[:, None] - grid.levels).square() + price * grid.lengths
    for one in (grid, Grid(grid.levels.expand(len(values), -1), grid.lengths.expand(len(values), -1))):
        chosen = cheapest(values, one, price)
        torch.testing.assert_close(costs.gather(1, chosen[:, None])[:, 0], costs.amin(1))


def test_a_bit_of_infinite_price_is_saved_only_next_door() -> None:
    grid = Grid(torch.arange(5.0)[None], torch.tensor([[0.0, 1, 2, 3, 4]]))
    assert cheapest(torch.tensor([0.0, 1.2, 3.9]), grid, 1e6).tolist() == [0, 0, 3]


@every_codec
def test_a_higher_price_buys_fewer_bits_for_more_error(codec: Codec) -> None:
    column = normal(4000)
    grid = codec.grid(column[None])
    chosen = [cheapest(column, grid, price) for price in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)]
    bits = [float(grid.lengths[0][codes].double().sum()) for codes in chosen]
    errors = [float((column - grid.levels[0][codes]).double().square().sum()) for codes in chosen]
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_the_factor_is_that_of_the_inverse(damping: float) -> None:
    second = correlated(3, 20).double()
    curved = curvature(second, damping)
    moment = second[:, curved.order][:, :, curved.order]
    diagonal = second.diagonal(dim1=1, dim2=2)
    moment += damping * diagonal.mean(1)[:, None, None] * torch.eye(20)
    identity = torch.eye(20, dtype=torch.float64).expand(3, -1, -1)
    torch.testing.assert_close(curved.factor.mT @ curved.factor @ moment, identity, rtol=0, atol=1e-9)
    assert torch.equal(curved.factor, curved.factor.triu())
    assert (diagonal.mean(0)[curved.order].diff() <= 0).all()
    energies = 1 / curved.factor.diagonal(dim1=1, dim2=2).square()
    assert curved.gain == pytest.approx(float(energies.log().mean().exp()))


def test_dead_inputs_have_a_curvature() -> None:
    assert torch.isfinite(curvature(torch.zeros(2, 5, 5)).factor).all()
    second = correlated(1, 6)
    second[:, 2], second[:, :, 2] = 0, 0
    assert torch.isfinite(curvature(second).factor).all()


@every_codec
def test_without_correlation_and_price_rounding_is_plain(codec: Codec) -> None:
    weight = normal(8, 100)
    grid = codec.grid(weight)
    curved = curvature(torch.eye(100)[None] * 3.0)
    assert torch.equal(compensate(weight, grid, curvature=curved, lagrangian=0.0), nearest(weight, grid))


@every_codec
@pytest.mark.parametrize("groups", [1, 4])
def test_compensation_lowers_the_output_error(codec: Codec, groups: int) -> None:
    for seed in range(5):
        weight, second = normal(16, 24, seed=seed), correlated(groups, 24, seed=seed)
        grid = codec.grid(weight)
        codes = compensate(weight, grid, curvature=curvature(second), lagrangian=0.0)
        plain = output_error(weight, grid.values(nearest(weight, grid)), second)
        assert output_error(weight, grid.values(codes), second) < 0.8 * plain


@every_codec
def test_groups_are_compensated_independently(codec: Codec) -> None:
    weight, curved = normal(12, 30), curvature(correlated(3, 30))
    grid = codec.grid(weight)
    together = compensate(weight, grid, curvature=curved, lagrangian=0.05)
    for g in range(3):
        rows = slice(4 * g, 4 * g + 4)
        own = Grid(grid.levels[rows], grid.lengths[rows]) if len(grid.levels) > 1 else grid
        alone = Curvature(curved.factor[g : g + 1], curved.order, curved.gain)
        assert torch.equal(compensate(weight[rows], own, curvature=alone, lagrangian=0.05), together[rows])


def reference(weight: Tensor, grid: Grid, second: Tensor, damping: float, lagrangian: float) -> Tensor:
    """Column by column with the whole inverse, from which every rounded column is eliminated."""
    columns = weight.shape[1]
    order = second.diagonal().argsort(descending=True)
    moment = second + damping * second.diagonal().mean() * torch.eye(columns)
    inverse = torch.linalg.inv(moment[order][:, order])
    work, codes, pivots = weight[:, order].clone(), torch.empty(weight.shape, dtype=torch.int64), []
    elimination = inverse.clone()
    for j in range(columns):
        pivots.append(elimination[j, j].clone())
        elimination -= elimination[:, j : j + 1] @ elimination[j : j + 1] / pivots[-1]
    gain = float(torch.stack(pivots).log().mean().neg().exp())
    for j in range(columns):
        codes[:, order[j]] = cheapest(work[:, j], grid, lagrangian * gain * float(pivots[j]))
        error = (work[:, j] - grid.levels[0][codes[:, order[j]]]) / pivots[j]
        work -= error[:, None] * inverse[j]
        inverse = inverse - inverse[:, j : j + 1] @ inverse[j : j + 1] / pivots[j]
    return codes


@pytest.mark.parametrize("columns", [7, BLOCK, 2 * BLOCK + 5])
@pytest.mark.parametrize("lagrangian", [0.0, 0.05])
def test_blocks_and_cholesky_give_what_elimination_gives(columns: int, lagrangian: float) -> None:
    weight, second = normal(6, columns).double(), correlated(1, columns).double()
    grid = EntropyCodec(0.5).grid(weight.float())
    grid = Grid(grid.levels.double(), grid.lengths.double())
    expected = reference(weight, grid, second[0], DAMPING, lagrangian)
    before = weight.clone()
    assert torch.equal(compensate(weight, grid, curvature=curvature(second), lagrangian=lagrangian), expected)
    assert torch.equal(weight, before)


def test_a_price_lowers_the_entropy_of_compensated_codes() -> None:
    weight, curved = normal(32, 64), curvature(correlated(1, 64))
    grid = EntropyCodec(0.5).grid(weight)
    codes = [compensate(weight, grid, curvature=curved, lagrangian=price) for price in (0.0, 0.05, 0.1, 0.2)]
    entropies = [entropy(c) for c in codes]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] < 0.97 * entropies[0]


def test_a_price_per_row_is_the_price_of_that_row() -> None:
    weight, curved = normal(4, 40), curvature(correlated(2, 40))
    grid = EntropyCodec(0.5).grid(weight)
    prices = torch.tensor([0.0, 0.1, 0.02, 0.3])
    together = compensate(weight, grid, curvature=curved, lagrangian=prices)
    for row, price in enumerate(prices):
        assert torch.equal(compensate(weight, grid, curvature=curved, lagrangian=float(price))[row], together[row])
