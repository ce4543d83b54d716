"""A network as one `torch.export` program with any batch size: the way into every other format."""

import io
import re
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten

from ravn.errors import InputError, told


def traced(model: nn.Module, example: Tensor, *, any_batch: bool = True) -> ExportedProgram:
    """The program of a network.

    Args:
        model: in eval mode.
        example: an input.
        any_batch: its first dimension, the batch, stays open.

    Raises:
        InputError: the network can't be traced, or only at one batch size; told with the line of its code.
    """
    batch = torch.cat([example, example]) if any_batch and len(example) == 1 else example
    shapes = ({0: torch.export.Dim("batch")},) if any_batch else None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(model, (batch,), dynamic_shapes=shapes)
    except Exception as error:  # torch.export's errors have no base of their own
        raise InputError(
            f"{type(model).__name__} can't be exported: {_sentence(error)}; torch.export must be able to trace its"
            f" forward{' for any batch size' if any_batch else ''}"
        ) from error


def program_bytes(program: ExportedProgram) -> bytes:
    """The program as the bytes of a .pt2 file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def program_from(data: bytes) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The function that a .pt2 file holds: network inputs to outputs."""
    module = torch.export.load(io.BytesIO(data)).module()
    return lambda inputs: outputs_of(module, inputs)


def outputs_of(model: Callable[[Tensor], object], inputs: Tensor) -> tuple[Tensor, ...]:
    """All tensors that a network gives, in the order in which exporters write them."""
    with torch.inference_mode():
        leaves, _ = tree_flatten(model(inputs))
    return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))


def state_dict_bytes(model: nn.Module) -> bytes:
    """The network's state dict as the bytes of a file that `torch.load` reads."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def layer_of(program: ExportedProgram, operator: str) -> str:
    """Name of the module that calls an operator first, such as "layer1.0.conv1"; "" for none or the network.

    Args:
        program: the network.
        operator: such as "aten._linalg_eigh", before or after decomposition.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decomposed = program.run_decompositions()
    for graph_node in (*decomposed.graph.nodes, *program.graph.nodes):
        if str(graph_node.target).startswith(operator):
            modules = list(graph_node.meta.get("nn_module_stack", {}).values())
            return str(modules[-1][0]) if modules else ""
    return ""


def unsupported(program: ExportedProgram, error: BaseException, pattern: str, form: str) -> str:
    """One sentence that names the operator that has no other form, and its layer.

    Args:
        program: the network.
        error: what a converter raised.
        pattern: finds the operator in what the error, or its cause, says.
        form: what the network was to become.
    """
    cause: BaseException | None = error
    while cause is not None:
        found = re.search(pattern, str(cause))
        if found:
            operator = found[1] if found[1].startswith("aten.") else f"aten.{found[1]}"
            layer = layer_of(program, operator)
            where = f" of the layer {layer!r}" if layer else ""
            return f"the operator {operator}{where} has no {form} form; replace it, or export with --pt2"
        cause = cause.__cause__
    return f"the network can't be written as {form}: {told(error)}; export with --pt2"


def _sentence(error: BaseException) -> str:
    """The first line of an error, and the line of code that it names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = told(error).rstrip(".")
    places = [line for line in lines if line.startswith('File "') and " in forward" in line]
    return f"{said} ({places[-1]})" if places else said
