"""The state of training in one file: written atomically, read without pickle's powers."""

import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ravn.codecs import Grid, codec_from_config
from ravn.errors import InputError, RavnError
from ravn.training.straight_through import Rounding, StraightThrough

Curve = list[tuple[float, float, float]]
"""Per epoch: its number, the mean training loss, and the validation accuracy in percent."""

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
    prices = {name: rounding.price for name, rounding in quantized.roundings.items()}
    state = {
        "model": model.state_dict(),
        "latents": {name: latent.detach() for name, latent in quantized.latents.items()},
        "optimizer": optimizer.state_dict(),
        "grids": {name: _tables(rounding.grid) for name, rounding in quantized.roundings.items()},
        "notes": json.dumps({"codecs": codecs, "prices": prices, "curve": curve, "trade_off": trade_off, "run": run}),
    }
    write_state(path, state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and notes to a file; an interrupted write leaves the former one.

    Raises:
        RavnError: the disk is full, or the file can't be written for another reason.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(stream.getvalue())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise RavnError(
            f"the checkpoint {path} can't be written ({error.strerror or error});"
            " make room for it: the training goes on from the last one that could"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_state(data: bytes, run: Mapping[str, Any], device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors and the notes that a run wrote; what is wrong with them is one of `BROKEN`."""
    state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    notes = json.loads(state["notes"])
    if notes["run"] != run:
        raise ValueError("another run wrote it")
    return state, notes


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
    try:
        state, notes = read_state(data, run, next(model.parameters()).device)
        model.load_state_dict(state["model"])
        with torch.no_grad():
            for name, latent in quantized.latents.items():
                latent.copy_(state["latents"][name])
        optimizer.load_state_dict(state["optimizer"])
        codecs = {name: codec_from_config(config) for name, config in notes["codecs"].items()}
        quantized.take({n: Rounding(c, Grid(**state["grids"][n]), notes["prices"][n]) for n, c in codecs.items()})
        return [(epoch, loss, accuracy) for epoch, loss, accuracy in notes["curve"]], float(notes["trade_off"])
    except BROKEN as error:
        raise InputError(f"{source} is not a checkpoint of this run; delete it to train from the start") from error


def _tables(grid: Grid) -> dict[str, Tensor]:
    """What rounding needs of a grid; classes only where there are any."""
    tables = {"levels": grid.levels, "lengths": grid.lengths, "classes": grid.classes}
    return {name: table for name, table in tables.items() if table is not None}
