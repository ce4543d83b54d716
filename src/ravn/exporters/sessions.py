"""The one door to onnxruntime."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ravn.errors import InputError, MissingPackageError, told

Run = Callable[[Tensor], tuple[Tensor, ...]]
"""Network inputs to outputs."""


def onnxruntime_module() -> Any:  # noqa: ANN401 - a module
    """The package itself.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "onnx") from error
    return onnxruntime


def session(data: bytes, threads: int = 0) -> Run:
    """Load an ONNX model into onnxruntime on the CPU.

    Args:
        data: bytes of the file.
        threads: of one run; 0 for as many as torch uses.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        InputError: onnxruntime doesn't take the model.
    """
    onnxruntime = onnxruntime_module()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    try:
        loaded = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise InputError(f"onnxruntime {onnxruntime.__version__} can't load the model: {told(error)}") from error
    name = loaded.get_inputs()[0].name

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network."""
        return tuple(torch.from_numpy(output) for output in loaded.run(None, {name: inputs.contiguous().numpy()}))

    return run
