"""`ravn measure`: what a file takes where it runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.table import Table

from ravn.adapters import build_model
from ravn.artifact import read
from ravn.cli.progress import Bars, output
from ravn.errors import RavnError
from ravn.exporters.inputs import ensure_taken, example_input
from ravn.exporters.runtimes import onnx_runtimes, torch_runtimes
from ravn.exporters.verification import random_like
from ravn.loading import load
from ravn.measuring import versions
from ravn.metrics.energy import energy_per_thousand
from ravn.metrics.memory import resident_bytes
from ravn.metrics.runtimes import RuntimeRow, measure_runtimes
from ravn.runtime import fixed_rates

MEGA = 1e6


def measure(
    file: Annotated[Path, typer.Argument(help="A .ravn file.", metavar="FILE")],
    model: Annotated[str | None, typer.Option(help="The network, where the file doesn't name it.")] = None,
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of an input without the batch: 3x224x224, or int64:128.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images of a call.", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="Timed calls of each runtime.", min=1)] = 30,
    weight_cache_bytes: Annotated[
        int, typer.Option(help="Weights of so many bytes stay unpacked in the packed runtime.", min=0)
    ] = 0,
    energy: Annotated[
        str | None, typer.Option(help="Energy and CO2 too, with the grid factor of this country: DEU.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure latency, memory and energy of a network in every runtime, on random inputs, in one run."""
    artifact = read(file)
    built = None if model is None else build_model(model, classes=artifact.preprocessing.get("classes"))
    network = load(file, built)
    inputs = random_like(example_input(artifact.preprocessing, shape), batch, seed=0)
    ensure_taken(network, inputs[:1], str(file))
    if energy:
        energy_per_thousand(lambda: None, 1, energy, seconds=0.1)  # an unknown country is told now
    layers = fixed_rates(artifact.layers)
    Bars().stage(f"measuring {file}, batches of {batch}")
    runtimes = torch_runtimes(network, layers, artifact.tied, inputs, weight_cache_bytes)
    missing = ""
    try:
        runtimes |= onnx_runtimes(network, layers, inputs)
    except RavnError as error:
        missing = f"not measured in onnxruntime: {error}"
    rows = measure_runtimes(runtimes, batch, repeats, energy)
    if as_json:
        about = {"file": str(file), "threads": torch.get_num_threads(), "versions": versions(), "missing": missing}
        process = {"process_resident_bytes": resident_bytes()}
        typer.echo(json.dumps(about | process | {"rows": [asdict(row) for row in rows]}))
        return
    console = output()
    console.print(runtime_table(rows))
    console.print(
        f"batches of {batch}, {torch.get_num_threads()} threads, median of {repeats} calls and their 10 to 90 % range;"
        " memory in MB: loaded and peak are growths of the process's resident memory",
        soft_wrap=True,
    )
    if missing:
        console.print(missing, soft_wrap=True)


def runtime_table(rows: list[RuntimeRow]) -> Table:
    """The rows as a table for the terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("runtime")
    headings = ("ms", "10-90 %", "images/s", "file MB", "weights MB", "loaded MB", "peak MB", "J per 1,000", "g CO2")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        spread = f"{1e3 * row.latency_low_seconds:.2f}-{1e3 * row.latency_high_seconds:.2f}"
        source = f" ({row.energy_source})" if row.energy_source else ""
        table.add_row(
            row.runtime,
            f"{1e3 * row.latency_seconds:.2f}",
            spread,
            f"{row.images_per_second:,.1f}",
            _megabytes(row.file_bytes),
            _megabytes(row.weight_bytes),
            _megabytes(row.loaded_bytes),
            _megabytes(row.peak_bytes),
            "-" if row.energy_joules is None else f"{row.energy_joules:,.1f}{source}",
            "-" if row.co2_grams is None else f"{row.co2_grams:.4f}",
        )
    return table


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / MEGA:,.3f}"
