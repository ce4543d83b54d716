"""8-bit activations: static quantization by onnxruntime's tools, weights on the grid that they were packed on."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from ravn.errors import MissingPackageError
from ravn.exporters.matching import Match
from ravn.runtime import FixedRate

_MOST = 2**31 - 1

Scales = NDArray[np.float32]


def quantized(model: onnx.ModelProto, batches: Sequence[Tensor]) -> onnx.ModelProto:
    """The model with 8-bit activations and weights, one scale for every output channel.

    Args:
        model: with float weights and batch norms folded; it is not changed.
        batches: network inputs whose ranges are taken.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "onnx") from error

    class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped
        """The batches one by one."""

        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """The next batch."""
            return next(({model.graph.input[0].name: batch.numpy()} for batch in self.left), None)

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "int8.onnx"
            copy = onnx.load_from_string(model.SerializeToString())  # the tool empties what it is given
            quantization.quantize_static(
                copy,
                path,
                Batches(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return onnx.load(path)
    finally:
        logging.root.setLevel(level)


def regridded(
    model: onnx.ModelProto, layers: Mapping[str, FixedRate], matches: Mapping[str, Match], scales: Mapping[str, Scales]
) -> dict[str, tuple[Match, Scales]]:
    """Put weights of whole steps back on their own grid, which 8 bits hold exactly, in place.

    Args:
        model: what `quantized` gave.
        layers: packed form of each weight.
        matches: float initializer -> what it is of a layer.
        scales: float initializer -> scales of its rows, folded batch norms included.

    Returns:
        Initializers that are to be packed: what they are of a layer, and the signs of their rows.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    biases = {node.input[1]: node.input[2] for node in model.graph.node if len(node.input) == 3}
    found = {}
    for name, match in matches.items():
        held = tensors.get(f"{name}_scale")
        layer = layers[match.layer]
        if layer.table.dtype != torch.int8 or layer.spectral or match.transposed or match.axis or held is None:
            continue
        rows = np.broadcast_to(scales[name].ravel(), layer.shape[0])
        old = numpy_helper.to_array(held)
        if old.shape != rows.shape:
            continue
        # A batch norm may switch a channel off: its weights are 0 then, at any scale.
        new = np.where(rows, np.abs(rows), old)
        if not _rescaled(tensors, biases.get(f"{name}_DequantizeLinear_Output"), new / old):
            continue
        held.CopyFrom(numpy_helper.from_array(new, held.name))
        signs = np.sign(rows)
        found[f"{name}_quantized"] = (match, signs.reshape([-1] + [1] * (len(layer.shape) - 1)))
    return found


def _rescaled(tensors: Mapping[str, onnx.TensorProto], bias: str | None, ratio: Scales) -> bool:
    """Write a bias, whose scale is that of inputs times weights, for larger or smaller scales; False if it can't be."""
    if bias is None or f"{bias}_quantized" not in tensors:
        return True
    numbers, scale = tensors[f"{bias}_quantized"], tensors[f"{bias}_quantized_scale"]
    moved = np.rint(numpy_helper.to_array(numbers) / ratio.astype(np.float64))
    if np.abs(moved).max(initial=0) > _MOST:
        return False
    numbers.CopyFrom(numpy_helper.from_array(moved.astype(np.int32), numbers.name))
    scale.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(scale) * ratio).astype(np.float32), scale.name))
    return True
