"""`ravn evaluate`: the accuracy of a file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ravn.adapters import build_model, check_fit, load_data
from ravn.artifact import read
from ravn.batches import size
from ravn.cli.options import Data, Device, Normalize, chosen_device
from ravn.cli.progress import Bars
from ravn.loading import load
from ravn.metrics import top1_accuracy


def evaluate(
    file: Annotated[Path, typer.Argument(help="A .ravn file.", metavar="FILE")],
    data: Data,
    model: Annotated[str | None, typer.Option(help="The network, where the file doesn't name it.")] = None,
    normalize: Normalize = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the top-1 accuracy of a file on the test images."""
    artifact = read(file)
    source = load_data(data, normalize=normalize, preprocessing=dict(artifact.preprocessing))
    built = None if model is None else build_model(model, classes=artifact.preprocessing.get("classes"))
    network = load(file, built)
    check_fit(network, source, str(file), data)
    network.to(chosen_device(device))
    accuracy = top1_accuracy(network, source.test, source.transform, progress=lambda b: Bars().track(b, "evaluate"))
    found = {
        "file": str(file),
        "file_bytes": file.stat().st_size,
        "images": size(source.test),
        "test_accuracy": accuracy,
    }
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"{file}: {accuracy:.2f} % of {size(source.test):,} test images, {found['file_bytes']:,} bytes")
