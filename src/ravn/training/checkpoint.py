"""The state of training in one file: written atomically, read without pickle's powers."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ravn.codecs import codec_from_config
from ravn.errors import InputError
from ravn.training.straight_through import StraightThrough
from ravn.writing import naming

Curve = list[tuple[float, float, float]]

BROKEN = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OSError, EOFError, pickle.UnpicklingError)
"""What reading a broken or foreign checkpoint may raise."""


def save_checkpoint(
    path: Path,
    model: nn.Module,
    quantized: StraightThrough,
    optimizer: torch.optim.Optimizer,
    curve: Curve,
    trade_off: float,
    run: Mapping[str, Any],
) -> None:
    """Write everything that going on after an epoch needs; an interrupted write leaves the former file.

    Args:
        path: the file.
        model: the network that is trained.
        quantized: its latent weights and codecs.
        optimizer: what moves them.
        curve: one entry per finished epoch.
        trade_off: lambda (Eq. 7).
        run: JSON-able description of the run that may go on from the file.
    """
    codecs = {name: codec.config() for name, codec in quantized.codecs.items()}
    state = {
        "model": model.state_dict(),
        "latents": {name: latent.detach() for name, latent in quantized.latents.items()},
        "optimizer": optimizer.state_dict(),
        "notes": json.dumps({"codecs": codecs, "curve": curve, "trade_off": trade_off, "run": run}),
    }
    write_state(path, state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and notes to a file; an interrupted write leaves the former one.

    Raises:
        OSError: it can't be written; nothing half-written stays.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    partial = path.with_name(path.name + ".partial")
    try:
        with naming(path):
            partial.write_bytes(stream.getvalue())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(
    data: bytes,
    model: nn.Module,
    quantized: StraightThrough,
    optimizer: torch.optim.Optimizer,
    run: Mapping[str, Any],
    *,
    source: str,
) -> tuple[Curve, float]:
    """Restore what `save_checkpoint` wrote, in place.

    Args:
        data: the bytes of the file.
        model: the network that is trained.
        quantized: its latent weights and codecs.
        optimizer: what moves them.
        run: description of the run that wants to go on.
        source: what the error message calls the file.

    Returns:
        The curve so far, whose length is the number of finished epochs, and lambda (Eq. 7).

    Raises:
        InputError: the file is not a checkpoint of this run.
    """
    stream = io.BytesIO(data)
    try:
        state = torch.load(stream, weights_only=True)
        notes = json.loads(state["notes"])
        if notes["run"] != run:
            raise ValueError("another run wrote it")
        model.load_state_dict(state["model"])
        with torch.no_grad():
            for name, latent in quantized.latents.items():
                latent.copy_(state["latents"][name])
        optimizer.load_state_dict(state["optimizer"])
        quantized.fit_levels({name: codec_from_config(config) for name, config in notes["codecs"].items()})
        return [(epoch, loss, accuracy) for epoch, loss, accuracy in notes["curve"]], float(notes["trade_off"])
    except BROKEN as error:
        raise InputError(f"{source} is not a checkpoint of this run; delete it to train from the start") from error
