"""The tensors that are not coded: constants as one number, floats in half precision."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ravn.artifact.checks import Shape, column, extent, shapes
from ravn.artifact.names import grouped, ungrouped
from ravn.artifact.planes import deflated_planes, inflated_planes
from ravn.errors import ArtifactError, InputError

FLOATS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
DTYPES = FLOATS | {
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
RELATIVE = 2.0**-11
"""Largest relative error of a float that is stored in fewer bits."""
FLOOR = 2.0**-20
"""Error that is allowed in any case, in units of the tensor's largest magnitude."""
_NARROWER = {"float32": ("float16",), "float64": ("float16", "float32")}
_WHOLE = ("zero", "constant", "exact")
_COUNTER = "num_batches_tracked"


def pack_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], bytes]:
    """Write tensors as a table for the spec and a deflated stream.

    Raises:
        InputError: a tensor has a dtype or layout that the format has no word for.
    """
    stored = [_stored(name, tensor.detach().cpu()) for name, tensor in tensors.items()]
    table = grouped(tensors) | {
        "dtype": [dtype_name(tensor.dtype) for tensor in tensors.values()],
        "shape": [list(tensor.shape) for tensor in tensors.values()],
        "stored": [how for how, _ in stored],
    }
    return table, deflated_planes([piece for _, piece in stored])


def unpack_tensors(table: dict[str, Any], stream: bytes, *, max_elements: int) -> dict[str, Tensor]:
    """Read what `pack_tensors` wrote.

    Raises:
        ArtifactError: the table is malformed, declares more than `max_elements`, or doesn't fit
            the stream.
    """
    names = ungrouped(table)
    sizes = shapes(table, len(names))
    if sum(map(extent, sizes)) > max_elements:
        raise ArtifactError("it declares tensors that are too large for its size")
    dtypes, stored = column(table, "dtype", len(names)), column(table, "stored", len(names))
    kinds = [_kind(dtype, how) for dtype, how in zip(dtypes, stored, strict=True)]
    counts = [_count(shape, how) for shape, how in zip(sizes, stored, strict=True)]
    pieces = inflated_planes(stream, kinds, counts)
    return {
        name: _restored(piece, shape, DTYPES[dtype])
        for name, piece, shape, dtype in zip(names, pieces, sizes, dtypes, strict=True)
    }


def dtype_name(dtype: torch.dtype) -> str:
    """The name under which torch knows a dtype: "float32"."""
    return str(dtype).removeprefix("torch.")


def _stored(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """How a tensor is stored, and its stored elements, shape (n,)."""
    dtype = dtype_name(tensor.dtype)
    if dtype not in DTYPES or tensor.layout != torch.strided:
        raise InputError(f"{name!r} is a {tensor.layout} tensor of {dtype}; a file holds {', '.join(DTYPES)}")
    flat = tensor.reshape(-1).contiguous()
    raw = flat.view(torch.uint8).reshape(len(flat), flat.element_size())
    if not raw.any() or (name.endswith(_COUNTER) and dtype == "int64"):
        return "zero", flat[:0]
    if bool((raw == raw[0]).all()):
        return "constant", flat[:1]
    for narrower in _NARROWER.get(dtype, ()):
        rounded = flat.to(DTYPES[narrower])
        if _is_close(flat.double(), rounded.double()):
            return narrower, rounded
    return "exact", flat


def _is_close(exact: Tensor, rounded: Tensor) -> bool:
    size = exact.abs()
    allowed = torch.maximum(size * RELATIVE, size.max() * FLOOR)
    return bool(((exact - rounded).abs() <= allowed).all())


def _kind(dtype: object, how: object) -> torch.dtype:
    """The dtype of the stored elements."""
    if isinstance(dtype, str) and isinstance(how, str) and dtype in DTYPES:
        if how in _WHOLE:
            return DTYPES[dtype]
        if how in _NARROWER.get(dtype, ()):
            return DTYPES[how]
    raise ArtifactError(f"its spec holds a tensor of dtype {dtype!r} stored as {how!r}, which doesn't exist")


def _count(shape: Shape, how: str) -> int:
    if how == "zero":
        return 0
    return min(1, math.prod(shape)) if how == "constant" else math.prod(shape)


def _restored(piece: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    if len(piece) == math.prod(shape):
        return piece.to(dtype).reshape(shape)
    filler = piece[0].to(dtype) if len(piece) else torch.zeros((), dtype=dtype)
    return filler.expand(shape).clone()
