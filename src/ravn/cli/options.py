"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ravn.errors import InputError
from ravn.plan import Budget

TRAINING = "Training"
"""Panel of the help for what is about training."""

Data = Annotated[
    str,
    typer.Option(
        help="digits | cifar10[:DIR] | cifar100[:DIR] | imagenet100:DIR | imagefolder:DIR | hf:NAME",
        metavar="DATA",
        show_default=False,
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(help="imagenet | cifar10 | cifar100 | MEANS/STDS such as 0.5,0.5,0.5/0.2,0.2,0.2"),
]
Weights = Annotated[Path | None, typer.Option(help="Float weights: .safetensors, or .pt/.pth of plain tensors.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", min=0, max=2**32 - 1)]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Log the training: losses, bits per weight, rate, accuracy.", rich_help_panel=TRAINING
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Train with torch.compile; it asks for a C++ compiler.", rich_help_panel=TRAINING),
]
Device = Annotated[str, typer.Option(help="auto | cpu | cuda | mps")]


def chosen_device(name: str) -> str:
    """The device that a name means on this machine.

    Raises:
        InputError: the device is unknown or not there.
    """
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    found = re.fullmatch(r"([a-z]+)(?::([0-9]{1,3}))?", name)
    if not found or int(found[2] or 0) >= there.get(found[1], 0):
        able = ", ".join(device for device, count in there.items() if count)
        raise InputError(f"there is no device {name!r} here; there is {able}")
    return name


def chosen_budgets(bits: str | None, size_bytes: str | None, ratio: str | None) -> dict[str, Budget]:
    """Budgets from the three options of which exactly one is given: a number, or several separated by commas.

    Returns:
        The budgets under the names of their folders, such as "2.0-bits".

    Raises:
        InputError: none or several are given, or one is not a positive number.
    """
    given = {n: v for n, v in (("--bits", bits), ("--bytes", size_bytes), ("--ratio", ratio)) if v is not None}
    if len(given) != 1:
        raise InputError(f"give exactly one of --bits, --bytes and --ratio; got {' and '.join(given) or 'none'}")
    ((option, text),) = given.items()
    try:
        values = [int(part) if option == "--bytes" else float(part) for part in text.split(",")]
    except ValueError as error:
        kind = "a whole number" if option == "--bytes" else "a number"
        raise InputError(f"{option} {text!r} is no budget; give {kind}, or several separated by commas") from error
    budgets: dict[str, Callable[[Any], Budget]] = {
        "--bits": lambda value: Budget(bits_per_weight=value),
        "--bytes": lambda value: Budget(size_bytes=value),
        "--ratio": lambda value: Budget(ratio=value),
    }
    if len(set(values)) < len(values):
        raise InputError(f"{option} {text!r} names a budget twice; give each once")
    return {f"{value}-{option[2:]}": budgets[option](value) for value in values}
