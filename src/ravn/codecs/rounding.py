"""Rounding that looks beyond the single weight: its price in bits, and the layer's inputs.

`compensate` rounds the columns of a layer one by one and pushes each error into the columns that
are still to come, through the inverse second moment of the layer's inputs (GPTQ, arXiv
2210.17323), and chooses every code by distortion + lagrangian * bits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ravn.codecs.base import Grid, nearest

BLOCK = 64

DAMPING = 0.1
"""Ridge on a second moment, as a share of its mean diagonal: a few hundred images say little of the least energies."""


@dataclass(frozen=True)
class Curvature:
    """What the inputs of a layer say about its weights.

    Args:
        factor: upper triangular U with U^T U = H^-1, H being the second moment of the inputs in
            `order`; shape (groups, columns, columns).
        order: the order in which columns are rounded, shape (columns,).
        gain: geometric mean of 1 / U_jj^2, the output energy of a unit error in a typical column.
    """

    factor: Tensor
    order: Tensor
    gain: float


def curvature(second_moment: Tensor, damping: float = DAMPING, *, by_energy: bool = True) -> Curvature:
    """Prepare a second moment of inputs for `compensate`.

    Args:
        second_moment: E[x x^T] of every group's inputs, shape (groups, columns, columns).
        damping: share of the mean diagonal that is added to it.
        by_energy: round columns by descending energy of their inputs; otherwise in their natural order.
    """
    diagonal = second_moment.diagonal(dim1=-2, dim2=-1).double()
    energy = diagonal.mean(0)
    order = energy.argsort(descending=True) if by_energy else torch.arange(len(energy), device=energy.device)
    # With J the reversal, J H J = L L^T gives H = A A^T for A = J L J, and so U = A^-1 = J L^-1 J.
    backwards = order.flip(0)
    lower = cholesky_damped(second_moment[:, backwards[:, None], backwards].double(), damping)
    factor = torch.eye(len(order), dtype=lower.dtype, device=lower.device).repeat(len(lower), 1, 1)
    torch.linalg.solve_triangular(lower, factor, upper=False, out=factor)
    del lower
    gain = factor.diagonal(dim1=-2, dim2=-1).log().mean().mul(-2).exp()
    return Curvature(factor.to(second_moment.dtype).flip(-2, -1), order, float(gain))


def cholesky_damped(moment: Tensor, damping: float) -> Tensor:
    """Lower factor, in place, of a second moment in float64 with a ridge that is a share of its mean diagonal."""
    diagonal = moment.diagonal(dim1=-2, dim2=-1)
    diagonal += (damping * diagonal.mean(-1, keepdim=True)).clamp_min(1e-12)
    return torch.linalg.cholesky(moment, out=moment)


def cheapest(values: Tensor, grid: Grid, price: Tensor | float = 0.0, classes: Tensor | None = None) -> Tensor:
    """Choose codes of a column by `(value - level)^2 + price * bits` among the nearest level and its neighbours.

    Args:
        values: shape (rows,).
        grid: levels of shape (1, K) or (rows, K).
        price: cost of one bit in squared units of the weight, broadcastable to (rows,).
        classes: row of the grid's lengths for each value, shape (rows,), where it has classes.

    Returns:
        Codes, int64 of shape (rows,).
    """
    near = nearest(values[:, None], grid)[:, 0]
    candidates = torch.stack([near, near - 1, near + 1]).clamp_(0, grid.levels.shape[1] - 1)
    if len(grid.levels) == 1:
        levels = grid.levels[0].take(candidates)
        row = 0 if classes is None else classes.int() * grid.lengths.shape[1]
        lengths = grid.lengths.take(candidates + row)
    else:
        levels = grid.levels.gather(1, candidates.T).T
        lengths = grid.lengths.gather(1, candidates.T).T
    cost = (values - levels).square() + price * lengths
    # The first of several least, as `argmin` has it, which takes ten times as long along this dimension.
    return candidates.gather(0, cost.min(0, keepdim=True).indices)[0]


def compensate(weight: Tensor, grid: Grid, *, curvature: Curvature, lagrangian: Tensor | float) -> Tensor:
    """Round a weight matrix column by column with second-order error compensation.

    Minimises `sum_j (w_j - q_j)^2 / U_jj^2 + lagrangian * gain * bits`, w being the weights as
    corrected for the errors of the columns already rounded.

    Args:
        weight: shape (rows, columns); rows of group g are the g-th block of rows.
        grid: levels to choose from.
        curvature: of the layer's inputs.
        lagrangian: price of one bit, in squared units of the weight in a typical column; a number
            or shape (rows,).

    Returns:
        Codes, int64 of shape (rows, columns).
    """
    groups = len(curvature.factor)
    rows, columns = weight.shape
    work = weight[:, curvature.order].reshape(groups, rows // groups, columns)
    classes = None if grid.classes is None else grid.classes[:, curvature.order].reshape(work.shape)
    codes = torch.empty_like(work, dtype=torch.int64)
    pivots = curvature.factor.diagonal(dim1=-2, dim2=-1)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        errors = torch.zeros_like(work[:, :, start:stop])
        for j in range(start, stop):
            pivot = pivots[:, j, None]
            column = work[:, :, j]
            scale = (pivot.square() * curvature.gain).expand(column.shape).reshape(-1)
            owner = None if classes is None else classes[:, :, j].reshape(-1)
            chosen = cheapest(column.reshape(-1), grid, lagrangian * scale, owner)
            codes[:, :, j] = chosen.reshape(column.shape)
            error = (column - grid.values(chosen[:, None]).reshape(column.shape)) / pivot
            errors[:, :, j - start] = error
            work[:, :, j + 1 : stop] -= error[:, :, None] * curvature.factor[:, j, None, j + 1 : stop]
        work[:, :, stop:] -= errors @ curvature.factor[:, start:stop, stop:]
    result = torch.empty_like(codes)
    result[:, :, curvature.order] = codes
    return result.reshape(rows, columns)
