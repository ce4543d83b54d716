"""The one door to onnx: a network as a model whose weights stay packed until a runtime loads it."""

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from ravn.codecs.spectrum import synthesis_matrix
from ravn.errors import InputError, MissingPackageError, told
from ravn.exporters.matching import Match, matched
from ravn.exporters.programs import layer_of
from ravn.runtime import FixedRate

try:
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it
    from onnx import TensorProto, helper, numpy_helper

    from ravn.exporters.onnx_functions import DOMAIN, unpacking
except ImportError as missing:
    raise MissingPackageError(missing.name or "onnx", "onnx") from missing

OPSETS = range(18, 24)
"""18 is the first with bit operations on tensors."""
OPSET = 20

_HALF_FROM = 64
"""Elements from which a tensor that float16 holds exactly is stored so: the Cast behind it takes bytes too."""
_HALF = np.dtype(np.float16)


Place = tuple[Match, NDArray[np.float32]]
"""What an initializer is of a layer, and the scales that make it so."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model with packed weights.

    Args:
        data: bytes of the file.
        float_bytes: size of the file with float weights.
        payload_bytes: what of the file is codes, tables, scales, biases and other tensors.
        left: layers of the network that are not in the graph in a form that can be packed: float, or unused.
    """

    data: bytes
    float_bytes: int
    payload_bytes: int
    left: tuple[str, ...]


def to_onnx(
    program: ExportedProgram,
    layers: Mapping[str, FixedRate],
    metadata: Mapping[str, str],
    opset: int = OPSET,
    calibration: Sequence[Tensor] = (),
) -> OnnxFile:
    """Write a program as ONNX with packed weights.

    Args:
        program: the network, with the weights that `layers` hold.
        layers: fixed-length form of each weight by its name in the network.
        metadata: what the file tells about itself.
        opset: version of the standard operators.
        calibration: network inputs from whose ranges activations get 8 bits; they stay float without any.

    Raises:
        InputError: the opset is unsupported, or an operator has no ONNX form; it is named with its layer.
    """
    model = float_model(program, opset)
    float_bytes = model.ByteSize()
    weights = {name: program.state_dict[name].detach().cpu().numpy() for name in layers}
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer if i.data_type == TensorProto.FLOAT}
    matches = matched(arrays, weights)
    scales = {name: _scales(layers[match.layer], match) for name, match in matches.items()}
    places = {name: (match, scales[name]) for name, match in matches.items()}
    if calibration:
        from ravn.exporters.onnx_int8 import quantized, regridded

        model = quantized(model, calibration)
        places |= regridded(model, layers, matches, scales)
    pack(model, layers, places, opset)
    helper.set_model_props(model, dict(metadata))
    left = tuple(sorted(set(layers) - {match.layer for match in matches.values()}))
    payload = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    return OnnxFile(model.SerializeToString(), float_bytes, payload, left)


def float_model(program: ExportedProgram, opset: int = OPSET) -> onnx.ModelProto:
    """A program as ONNX with float weights: input "input", any batch size, nothing said twice."""
    if opset not in OPSETS:
        raise InputError(f"--opset {opset} is not supported; give {OPSETS[0]} to {OPSETS[-1]}")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                program, (), dynamo=True, opset_version=opset, input_names=["input"], verbose=False
            )
    except Exception as error:  # torch.onnx's errors have no base of their own
        raise InputError(_unsupported(program, error)) from error
    finally:
        logger.setLevel(level)
    model: onnx.ModelProto = written.model_proto  # type: ignore[union-attr]
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
    for field in ("metadata_props", "value_info"):
        model.graph.ClearField(field)
    return model


def pack(model: onnx.ModelProto, layers: Mapping[str, FixedRate], places: Mapping[str, Place], opset: int) -> None:
    """Replace initializers by codes and one node that unpacks them, in place.

    Args:
        model: with float weights, or 8-bit ones.
        layers: fixed-length form of each weight.
        places: initializer -> what it is of a layer, and its scales.
        opset: of the model.
    """
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    functions: dict[str, onnx.FunctionProto] = {}
    stored: dict[str, list[str]] = {}
    for initializer in model.graph.initializer:
        name = initializer.name
        if name not in places:
            kept.append(_narrowed(initializer, nodes))
            continue
        match, values = places[name]
        layer = layers[match.layer]
        if match.layer not in stored:
            tensors = _layer_tensors(f"w{len(stored)}", layer)
            stored[match.layer] = [tensor.name for tensor in tensors]
            kept += tensors
        *codes, shape = stored[match.layer]
        scales = numpy_helper.from_array(values, f"s{len(nodes)}")
        kept.append(scales)
        widths = [stage.width for stage in layer.stages]
        function = unpacking(widths, opset, spectral=layer.spectral)
        functions[function.name] = function
        if layer.spectral:
            codes.append(_basis(layer.shape[2:], kept))
        whole = initializer.data_type == TensorProto.INT8
        output = f"{name}.unpacked" if match.transposed or whole else name
        nodes.append(helper.make_node(function.name, [*codes, scales.name, shape], [output], domain=DOMAIN))
        if match.transposed:
            nodes.append(helper.make_node("Transpose", [output], [name], perm=[1, 0]))
        elif whole:
            nodes.append(helper.make_node("Cast", [output], [name], to=TensorProto.INT8))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for at, node in enumerate(nodes):
        model.graph.node.insert(at, node)
    model.functions.extend(functions.values())
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _layer_tensors(name: str, layer: FixedRate) -> list[onnx.TensorProto]:
    planes = [plane for stage in layer.stages for plane in stage.planes]
    arrays = {f"{name}.{number}": plane.numpy() for number, plane in enumerate(planes)}
    arrays |= {f"{name}.table": layer.table.numpy(), f"{name}.shape": np.array(layer.shape, np.int64)}
    return [numpy_helper.from_array(array, key) for key, array in arrays.items()]


def _basis(kernel: tuple[int, ...], kept: list[onnx.TensorProto]) -> str:
    """Name of the matrix that turns spectra of such kernels into weights; it is stored once."""
    name = f"basis{'x'.join(map(str, kernel))}"
    matrix = synthesis_matrix(kernel)
    if matrix is not None and all(tensor.name != name for tensor in kept):
        kept.append(numpy_helper.from_array(matrix.numpy().astype(np.float32), name))
    return name


def _scales(layer: FixedRate, match: Match) -> NDArray[np.float32]:
    """Scales of the layer and of the graph together, of a shape that broadcasts over the weight."""
    own = np.ones(1, np.float32) if layer.scales is None else layer.scales.numpy()
    ones = [1] * len(layer.shape)
    scales = own.reshape([-1, *ones[1:]])
    if match.scales is not None:
        scales = scales * match.scales.reshape([-1 if axis == match.axis else 1 for axis in range(len(ones))])
    return scales


def _narrowed(initializer: onnx.TensorProto, nodes: list[onnx.NodeProto]) -> onnx.TensorProto:
    """The tensor in half the bytes where that is exact, with a node that widens it."""
    whole = initializer.data_type != TensorProto.FLOAT or initializer.name.endswith("_scale")
    if whole or np.prod(initializer.dims) < _HALF_FROM:
        return initializer
    array = numpy_helper.to_array(initializer)
    with np.errstate(over="ignore"):
        half = array.astype(_HALF)
    if not np.array_equal(half, array):
        return initializer
    name = initializer.name
    nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    return numpy_helper.from_array(half, f"{name}.half")


def _unsupported(program: ExportedProgram, error: BaseException) -> str:
    """One sentence that names the operator and its layer."""
    cause: BaseException | None = error
    while cause is not None:
        operator = re.search(r"op='([\w.]+)'", str(cause))
        if operator:
            layer = layer_of(program, operator[1])
            where = f" of the layer {layer!r}" if layer else ""
            return f"the operator {operator[1]}{where} has no ONNX form; replace it, or export with --pt2"
        cause = cause.__cause__
    return f"the network can't be written as ONNX: {told(error)}; export with --pt2"
