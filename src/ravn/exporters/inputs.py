"""What a network takes, where only its file is at hand."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ravn.errors import InputError, told

MOST, DIMENSIONS = 99_999, 4
"""Largest side of an input, and most of them after the channels."""
MOST_NUMBERS = 1 << 28
"""Numbers of an input: a gigabyte in float32, beyond which a slip is likelier than such an image."""
_SHAPE = re.compile(r"(int64:)?(\d{1,5}(?:x\d{1,5}){0,4})")


def example_input(preprocessing: Mapping[str, Any], shape: str | None) -> Tensor:
    """An input of a network, batch size 1.

    Args:
        preprocessing: the file's; its "mean" tells the channels, and its "size" the height and width.
        shape: without the batch, such as "3x224x224", or "int64:128" for whole numbers; None to go by the file.

    Raises:
        InputError: the shape is not understood, or there is none and the file doesn't tell.
    """
    if shape is not None:
        found = _SHAPE.fullmatch(shape)
        lengths = [int(side) for side in found[2].split("x")] if found else [0]
        if not found or 0 in lengths:
            raise InputError(f"--input {shape!r} is not understood; give a shape such as 3x224x224, or int64:128")
        return _zeros(lengths, torch.int64 if found[1] else torch.float32)
    side, mean = preprocessing.get("size"), preprocessing.get("mean")
    sides = side if isinstance(side, list) else [side, side]
    whole = (
        isinstance(sides, list) and all(type(s) is int and 0 < s <= MOST for s in sides) and len(sides) <= DIMENSIONS
    )
    if not isinstance(mean, list) or not mean or not whole:
        raise InputError("the file doesn't tell the shape of its inputs; give --input, such as 3x224x224")
    return _zeros([len(mean), *sides], torch.float32)


def _zeros(lengths: Sequence[int], dtype: torch.dtype) -> Tensor:
    if math.prod(lengths) > MOST_NUMBERS:
        shape = "x".join(map(str, lengths))
        raise InputError(f"an input of {shape} has more than {MOST_NUMBERS:,} numbers; give a smaller --input")
    return torch.zeros(1, *lengths, dtype=dtype)


def ensure_taken(network: nn.Module, inputs: Tensor, source: str) -> None:
    """Run a network once.

    Args:
        network: in eval mode.
        inputs: a batch.
        source: what the error message calls the network.

    Raises:
        InputError: it doesn't take inputs of this shape.
    """
    try:
        with torch.inference_mode():
            network(inputs)
    except Exception as error:  # networks refuse inputs in many ways
        shape = "x".join(map(str, inputs.shape[1:]))
        raise InputError(f"{source} can't take inputs of {shape}: {told(error)}; give --input") from error
