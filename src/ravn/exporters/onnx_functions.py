"""The unpacking of a weight as ONNX functions of standard operators: what `ravn.runtime` does, in a graph."""

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

from ravn.runtime.stages import pieces

DOMAIN = "ravn"
"""Of functions, which every runtime inlines; not of custom operators."""


class _Body:
    """The nodes of a function as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - whatever the operator has
        """Append a node; its output's name."""
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: int | Sequence[int], kind: int = TensorProto.INT64) -> str:
        """Append a constant; its output's name."""
        dims = [] if isinstance(values, int) else [len(values)]
        flat = [values] if isinstance(values, int) else values
        output = f"v{len(self.nodes)}"
        tensor = helper.make_tensor("", kind, dims, flat)
        self.nodes.append(helper.make_node("Constant", [], [output], value=tensor))
        return output

    def ranks(self, planes: Sequence[str], width: int) -> str:
        """Codes of a stage with their padding, int32."""
        total = ""
        for piece, plane in zip(pieces(width), planes, strict=True):
            fields = plane
            if piece < 8:
                shifts = self.constant(range(8 - piece, -1, -piece), TensorProto.UINT8)
                column = self.add("Unsqueeze", plane, self.constant([1]))
                shifted = self.add("BitShift", column, shifts, direction="RIGHT")
                mask = self.constant((1 << piece) - 1, TensorProto.UINT8)
                fields = self.add("Reshape", self.add("BitwiseAnd", shifted, mask), self.constant([-1]))
            fields = self.add("Cast", fields, to=TensorProto.INT32)
            if total:
                weighted = self.add("Mul", total, self.constant(1 << piece, TensorProto.INT32))
                fields = self.add("Add", weighted, fields)
            total = fields
        return total

    def escaped(self, found: str, further: str, escape: int) -> str:
        """Codes of a stage, those that say so replaced by the next stage's."""
        mark = self.add("Equal", found, self.constant(escape, TensorProto.INT32))
        # Counted, not by NonZero: onnxruntime folds no operator whose shape depends on values.
        count = self.add("CumSum", self.add("Cast", mark, to=TensorProto.INT32), self.constant(0))
        place = self.add("Sub", count, self.constant(1, TensorProto.INT32))
        raised = self.add("Add", further, self.constant(escape, TensorProto.INT32))
        return self.add("Where", mark, self.add("Gather", raised, place), found)


def signature(widths: Sequence[int], *, spectral: bool = False) -> str:
    """Name of the function for stages of these widths."""
    return "_".join(["unpack", *(["spectra"] if spectral else []), *map(str, widths)])


def unpacking(widths: Sequence[int], opset: int, *, spectral: bool = False) -> onnx.FunctionProto:
    """The function planes..., table, [basis,] scales, shape -> weight, float32.

    Args:
        widths: of the stages.
        opset: version of the standard operators.
        spectral: what is looked up are spectra of kernels, and `basis` turns them into weights.
    """
    body = _Body()
    names = [[f"plane{stage}_{piece}" for piece in range(len(pieces(width)))] for stage, width in enumerate(widths)]
    ranks = body.ranks(names[-1], widths[-1])
    for planes, width in zip(reversed(names[:-1]), reversed(widths[:-1]), strict=True):
        ranks = body.escaped(body.ranks(planes, width), ranks, (1 << width) - 1)
    values = body.add("Gather", body.add("Cast", "table", to=TensorProto.FLOAT), ranks)
    end = body.add("ReduceProd", "shape", keepdims=1)
    flat = body.add("Slice", body.add("Reshape", values, body.constant([-1])), body.constant([0]), end)
    if spectral:
        side = body.add("Slice", body.add("Shape", "basis"), body.constant([0]), body.constant([1]))
        kernels = body.add("Reshape", flat, body.add("Concat", body.constant([-1]), side, axis=0))
        flat = body.add("MatMul", kernels, "basis")
    body.add("Mul", body.add("Reshape", flat, "shape"), "scales")
    body.nodes[-1].output[0] = "weight"
    inputs = [name for planes in names for name in planes] + ["table", *(["basis"] * spectral), "scales", "shape"]
    opsets = [helper.make_opsetid("", opset)]
    name = signature(widths, spectral=spectral)
    return helper.make_function(DOMAIN, name, inputs, ["weight"], body.nodes, opsets)
