"""`ravn inspect`: what a file holds, layer by layer."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ravn.artifact import read
from ravn.cli.progress import output
from ravn.codecs import ClusterCodec, Codec
from ravn.errors import InputError
from ravn.result import Result


def inspect(file: Annotated[Path, typer.Argument(help="A .ravn file.", metavar="FILE")]) -> None:
    """Show shape, clusters, bits, bytes and error of every layer.

    The error is taken from the run's result.json beside the file; a file alone doesn't know the float weights.
    """
    artifact = read(file)
    errors = _errors(file)
    table = Table(title=f"{file}: {artifact.model or 'a network without a name'}")
    for heading in ("layer", "shape", "codec", "clusters", "bits", "bytes", "bits/weight", "error dB"):
        table.add_column(
            heading, justify="left" if heading in ("layer", "shape", "codec") else "right", no_wrap=heading == "layer"
        )
    for name, encoded in artifact.layers.items():
        rate = 8 * encoded.size_bytes / max(math.prod(encoded.shape), 1)
        clusters, bits = _clusters(artifact.codecs[name], rate)
        shape = "x".join(map(str, encoded.shape))
        size = f"{encoded.size_bytes:,}"
        table.add_row(name, shape, encoded.codec, clusters, bits, size, f"{rate:.3f}", errors.get(name, "-"))
    console = output()
    console.print(table)
    payload = sum(e.size_bytes for e in artifact.layers.values())
    total = file.stat().st_size
    console.print(f"{total:,} bytes: {payload:,} of codes, {total - payload:,} of all else")


def _clusters(codec: Codec, rate: float) -> tuple[str, str]:
    if isinstance(codec, ClusterCodec):
        return str(len(codec.bits)), " ".join(map(str, codec.bits))
    return "1", f"{rate:.2f}"


def _errors(file: Path) -> dict[str, str]:
    beside = file.parent / "result.json"
    try:
        result = Result.from_json(beside.read_text(errors="replace"))
    except (OSError, InputError):
        return {}
    if result.file_bytes != file.stat().st_size:
        return {}
    return {layer.name: f"{layer.error_db:.1f}" for layer in result.layers}
