"""Kernels as spectra: what lies in neighbouring positions is alike, and the inputs that it meets are smooth.

A convolution's kernel is transformed by the discrete cosine transform (DCT-II, orthonormal), and its coefficients are
quantized in steps that widen with the frequency, as pictures are (JPEG, ITU-T T.81): inputs of high frequency hold
little energy, so that errors there cost little. On trained 3x3 kernels this saves 0.2 to 0.3 bits per weight at equal
damage (docs/experiments.md).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

MOST_SIDE = 16
"""Kernels of a longer side, such as positions of a sequence, have no spectrum worth the name."""

TYPICAL_SIDE = 3
"""Kernel side at which the steps of neighbouring frequencies are as 1 to 2 to 3."""


def analysis(weight: Tensor) -> Tensor:
    """Coefficients of every kernel, relative to the steps of their frequencies; the weight itself without kernels.

    Args:
        weight: shape (outputs, inputs, *kernel).

    Returns:
        Of the same shape and dtype.
    """
    matrix = _analysis_matrix(tuple(weight.shape[2:]))
    return weight if matrix is None else _each_kernel(weight, matrix.T)


def synthesis(coefficients: Tensor) -> Tensor:
    """The weight of these coefficients: the inverse of `analysis`."""
    matrix = synthesis_matrix(tuple(coefficients.shape[2:]))
    return coefficients if matrix is None else _each_kernel(coefficients, matrix)


def pulled_back(gradient: Tensor) -> Tensor:
    """Gradient with respect to coefficients, from that with respect to the weight that `synthesis` makes of them."""
    matrix = synthesis_matrix(tuple(gradient.shape[2:]))
    return gradient if matrix is None else _each_kernel(gradient, matrix.T)


def synthesis_matrix(kernel: tuple[int, ...]) -> Tensor | None:
    """S in `kernels = coefficients S`, both of shape (..., positions); float64, None where nothing is transformed."""
    found = _bases(kernel)
    return None if found is None else found[0] * found[1][:, None]


def analysed_moment(moment: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Second moment of what coefficients are multiplied with, from that of what weights are multiplied with.

    Args:
        moment: shape (groups, columns, columns).
        shape: of the weight.
    """
    matrix = synthesis_matrix(shape[2:])
    if matrix is None:
        return moment
    positions = len(matrix)
    groups, columns, _ = moment.shape
    blocks = moment.reshape(groups, columns // positions, positions, columns // positions, positions)
    spread = matrix.to(moment)
    return torch.einsum("gapbq,ip,jq->gaibj", blocks, spread, spread).reshape(moment.shape)


def _analysis_matrix(kernel: tuple[int, ...]) -> Tensor | None:
    """A in `coefficients = kernels A^T`."""
    found = _bases(kernel)
    return None if found is None else found[0] / found[1][:, None]


def _each_kernel(weight: Tensor, matrix: Tensor) -> Tensor:
    # In double precision, so that all machines agree once it is rounded.
    return (weight.flatten(2).double() @ matrix.to(weight.device)).reshape(weight.shape).to(weight)


@lru_cache
def _bases(kernel: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """Basis vectors of a kernel's spectrum as rows, and the step of each; the geometric mean of the steps is 1."""
    if math.prod(kernel) < 2 or max(kernel) > MOST_SIDE:
        return None
    basis, ramp = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for side in kernel:
        places = torch.arange(side, dtype=torch.float64)
        cosines = torch.cos(math.pi / side * (places + 0.5) * places[:, None]) * math.sqrt(2 / side)
        cosines[0] /= math.sqrt(2)
        basis = torch.kron(basis, cosines)
        ramp = (ramp[:, None] + places * TYPICAL_SIDE / side).flatten()
    return basis, ramp / ramp.log().mean().exp()
