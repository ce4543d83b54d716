"""A compressed network in every runtime that it can be handed to."""

import copy
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ravn.exporters.programs import traced
from ravn.exporters.sessions import onnxruntime_module, session
from ravn.metrics.memory import tensor_bytes
from ravn.metrics.runtimes import Runtime
from ravn.runtime import FixedRate, pack_network


def torch_runtimes(
    network: nn.Module, layers: Mapping[str, FixedRate], tied: Mapping[str, str], inputs: Tensor, cache_bytes: int
) -> dict[str, Runtime]:
    """The network in PyTorch, with float weights and with packed ones.

    Args:
        network: with the weights that `layers` hold.
        layers: packed form of weights.
        tied: as in the artifact.
        inputs: one batch.
        cache_bytes: weights that the packed runtime may keep unpacked.
    """
    packed = copy.deepcopy(network)
    pack_network(packed, layers, tied, cache_bytes)
    return {
        name: Runtime(_started(model, inputs), _state_bytes(model), tensor_bytes(model))
        for name, model in (("PyTorch, float", network), ("PyTorch, packed", packed))
    }


def onnx_runtimes(network: nn.Module, layers: Mapping[str, FixedRate], inputs: Tensor) -> dict[str, Runtime]:
    """The network in onnxruntime: from a file with float weights, one with packed ones, and one with int8 activations.

    Args:
        network: with the weights that `layers` hold.
        layers: packed form of weights.
        inputs: one batch; the ranges of int8 activations are its own.

    Raises:
        InputError: the network can't be exported.
        MissingPackageError: onnx, onnxscript or onnxruntime is not installed.
    """
    from ravn.exporters.onnx_graph import float_model, to_onnx

    onnxruntime_module()  # missing, it is told before the network is traced
    program = traced(network, inputs[:1])
    plain = float_model(program)
    weights = sum(len(tensor.raw_data) for tensor in plain.graph.initializer)
    files = {
        "onnxruntime, float": (plain.SerializeToString(), weights),
        # onnxruntime unpacks when it loads: what is resident is the same.
        "onnxruntime, packed": (to_onnx(program, layers, {}).data, weights),
    }
    if inputs.is_floating_point():
        whole = to_onnx(program, layers, {}, calibration=[inputs]).data
        saved = 3 * sum(math.prod(layer.shape) for layer in layers.values())
        files["onnxruntime, packed, int8"] = (whole, weights - saved)
    return {name: Runtime(_session(data, inputs), len(data), resident) for name, (data, resident) in files.items()}


def _started(model: nn.Module, inputs: Tensor) -> Callable[[], Callable[[], Any]]:
    def call() -> object:
        """Run the network once."""
        with torch.inference_mode():
            return model(inputs)

    return lambda: call


def _session(data: bytes, inputs: Tensor) -> Callable[[], Callable[[], Any]]:
    def start() -> Callable[[], Any]:
        """Open the model."""
        run = session(data)
        return lambda: run(inputs)

    return start


def _state_bytes(model: nn.Module) -> int:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()
