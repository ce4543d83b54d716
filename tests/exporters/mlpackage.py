"""A Core ML package read by its format alone: weights as a reader makes them, by none of the code that wrote them."""

import json
import struct
from collections.abc import Mapping

import numpy as np
from coremltools.proto import MIL_pb2, Model_pb2

ENTRY = struct.Struct("<IIQQQ")
"""Of a blob in weight.bin: mark, type, bytes, offset, bits of padding."""
MARK = 0xDEADBEEF
DTYPES = {"FLOAT16": np.float16, "FLOAT32": np.float32, "INT8": np.int8}
LOOKED_UP, SCALED = "constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"


def model(files: Mapping[str, bytes]):
    """The model that the manifest names."""
    manifest = json.loads(files["Manifest.json"])
    item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
    found = Model_pb2.Model()
    found.ParseFromString(files[f"Data/{item['path']}"])
    return found


def operations(files: Mapping[str, bytes]):
    """All operations of the main function."""
    main = model(files).mlProgram.functions["main"]
    return main.block_specializations[main.opset].operations


def stored(files: Mapping[str, bytes], value) -> np.ndarray:
    """A constant, from the model or from the file of weights; indices of any width as uint8."""
    tensor = value.type.tensorType
    shape = [dimension.constant.size for dimension in tensor.dimensions]
    kind = MIL_pb2.DataType.Name(tensor.dataType)
    if value.WhichOneof("value") == "immediateValue":
        held = value.immediateValue.tensor
        raw = getattr(held, held.WhichOneof("value")).values
    else:
        data = files["Data/com.apple.CoreML/weights/weight.bin"]
        mark, _, size, offset, _ = ENTRY.unpack_from(data, value.blobFileValue.offset)
        assert mark == MARK
        raw = data[offset : offset + size]
    if not isinstance(raw, bytes):
        return np.array(raw, DTYPES[kind]).reshape(shape)
    if kind.startswith("UINT"):
        width, count = int(kind[4:]), int(np.prod(shape))
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count * width, bitorder="little")
        return np.packbits(bits.reshape(count, width), axis=1, bitorder="little").reshape(shape)
    return np.frombuffer(raw, DTYPES[kind]).reshape(shape)


def weights(files: Mapping[str, bytes]) -> list[np.ndarray]:
    """The constants that the operations of a package make, but for those that are but a step to another."""
    made: dict[str, np.ndarray] = {}
    for operation in operations(files):
        if operation.type not in (LOOKED_UP, SCALED):
            continue
        given = {}
        for key, item in operation.inputs.items():
            (argument,) = item.arguments
            is_name = argument.WhichOneof("binding") == "name"
            given[key] = made.pop(argument.name) if is_name else stored(files, argument.value)
        if operation.type == LOOKED_UP:
            result = looked_up(given["indices"], given["lut"])
        else:
            result = given["data"].astype(given["scale"].dtype) * given["scale"]
        made[operation.outputs[0].name] = result
    return list(made.values())


def looked_up(indices: np.ndarray, lut: np.ndarray) -> np.ndarray:
    """The entry of the table of each index's group."""
    assert lut.shape[-1] == 1
    groups = [np.arange(side) // (side // tables) for side, tables in zip(indices.shape, lut.shape, strict=False)]
    return lut[(*np.ix_(*groups), indices, 0)]
