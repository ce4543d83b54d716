"""Where codes are read by kernels of their own, and a small product needs no unpacked weight."""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ravn.codecs.base import matrix_shape
from ravn.runtime.fixed_rate import FixedRate, scaled_table, unpacked

MOST_INPUTS = 8
"""A product with more inputs reads its weight so often that it is unpacked first; chosen, not measured."""


def kernels_on(device: torch.device) -> Any:  # noqa: ANN401 - a module
    """The kernels for a device; None where there are none, and where a compiler fuses the unpacking anyway."""
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return None
    return None if torch.compiler.is_compiling() else _kernels()


def weight_of(weight: FixedRate) -> Tensor:
    """The weight of a fixed-length form, on the device of its table: `unpacked`, by the quickest way there is."""
    kernels = kernels_on(weight.table.device)
    if kernels is None or weight.table.shape[1] > 1 or weight.spectral:
        return unpacked(weight)
    table, scales = scaled_table(weight)
    matrix = kernels.weight(weight.stages, table[:, 0], scales, matrix_shape(weight.shape), weight.dtype)
    return matrix.reshape(weight.shape)


def product(weight: FixedRate, inputs: Tensor, bias: Tensor | None) -> Tensor | None:
    """Inputs times a weight that is unpacked nowhere.

    Args:
        weight: shape (outputs, columns), or (outputs, columns, 1, 1).
        inputs: shape (..., columns).
        bias: shape (outputs,), or None.

    Returns:
        Shape (..., outputs); None where no kernel does that: without a GPU, for many inputs, where a gradient is asked
        for or dtypes are mixed, for spectra and vectors.
    """
    kernels = kernels_on(inputs.device)
    rows, columns = matrix_shape(weight.shape)
    few = 0 < inputs.numel() <= MOST_INPUTS * columns
    if kernels is None or not few or weight.spectral or weight.table.shape[1] > 1:
        return None
    tensors = [inputs] if bias is None else [inputs, bias]
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    mixed = any(tensor.dtype != weight.dtype for tensor in tensors) or torch.is_autocast_enabled(inputs.device.type)
    if learning or mixed:
        return None
    table, scales = scaled_table(weight)
    flat = inputs.reshape(-1, columns).contiguous()
    found: Tensor = kernels.product(weight.stages, table[:, 0], scales, flat, bias, rows)
    return found.reshape(*inputs.shape[:-1], rows)


@cache
def _kernels() -> Any:  # noqa: ANN401
    try:
        from ravn.runtime import triton_kernels
    except ImportError:  # Triton comes with PyTorch for CUDA, but not everywhere
        return None
    return triton_kernels
