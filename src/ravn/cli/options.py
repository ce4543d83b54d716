"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from ravn.errors import InputError
from ravn.plan import Budget

Data = Annotated[
    str,
    typer.Option(
        help="digits | cifar10[:DIR] | cifar100[:DIR] | imagefolder:DIR | hf:NAME", metavar="DATA", show_default=False
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(help="imagenet | cifar10 | cifar100 | MEANS/STDS such as 0.5,0.5,0.5/0.2,0.2,0.2"),
]
Weights = Annotated[Path | None, typer.Option(help="Float weights: .safetensors, or .pt/.pth of plain tensors.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", min=0, max=2**32 - 1)]
Device = Annotated[str, typer.Option(help="auto | cpu | cuda | mps")]


def chosen_device(name: str) -> str:
    """The device that a name means on this machine.

    Raises:
        InputError: the device is unknown or not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    family, _, number = name.partition(":")
    if not there.get(family, False) or (number and not number.isdigit()):
        able = ", ".join(device for device, is_there in there.items() if is_there)
        raise InputError(f"there is no device {name!r} here; there is {able}")
    return name


def chosen_budget(bits: float | None, size_bytes: int | None, ratio: float | None) -> Budget:
    """The budget from the three options of which exactly one is given.

    Raises:
        InputError: none or several are given, or it is not positive.
    """
    given = [name for name, v in (("--bits", bits), ("--bytes", size_bytes), ("--ratio", ratio)) if v is not None]
    if len(given) != 1:
        raise InputError(f"give exactly one of --bits, --bytes and --ratio; got {' and '.join(given) or 'none'}")
    return Budget(bits, size_bytes, ratio)
