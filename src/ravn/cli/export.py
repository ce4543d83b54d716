"""`ravn export`: a file for other runtimes."""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from torch import Tensor, nn

from ravn.adapters import ImageData, build_model, load_data
from ravn.artifact import Artifact, read
from ravn.batches import drawn, in_order, size
from ravn.cli.options import Normalize
from ravn.cli.progress import Bars, output
from ravn.errors import InputError
from ravn.exporters.inputs import example_input
from ravn.exporters.programs import program_bytes, program_from, state_dict_bytes, traced
from ravn.exporters.sessions import Run, session
from ravn.exporters.verification import INT8, ROUNDING, accuracies, ensure_as_accurate, largest_difference
from ravn.loading import load
from ravn.plan import Plan
from ravn.runtime import FixedRate, fixed_rates
from ravn.writing import write_atomic, write_package_atomic

if TYPE_CHECKING:
    from ravn.exporters.onnx_graph import OnnxFile

OPSET = 20
PRECISIONS = ("float16", "float32")
PACKAGE = ".mlpackage"
ACTIVATIONS = ("float", "int8")
CALIBRATION = 128
"""Training images from which the ranges of 8-bit activations are taken."""

Check = Callable[[Callable[[], Run]], str]
"""Starts what was exported, and says how near it is; raises where it is not."""


def export(  # noqa: PLR0913 - one option each
    file: Annotated[Path, typer.Argument(help="A .ravn file.", metavar="FILE")],
    onnx: Annotated[Path | None, typer.Option(help="Write an ONNX file with packed weights.")] = None,
    coreml: Annotated[
        Path | None, typer.Option(help="Write a Core ML package of palettized weights, OUT.mlpackage.")
    ] = None,
    pt2: Annotated[Path | None, typer.Option(help="Write a torch.export program with float weights.")] = None,
    pt: Annotated[Path | None, typer.Option(help="Write a plain state dict of float weights.")] = None,
    model: Annotated[str | None, typer.Option(help="The network, where the file doesn't name it.")] = None,
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of an input without the batch: 3x224x224, or int64:128.")
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's standard operators.")] = OPSET,
    activations: Annotated[
        str,
        typer.Option(
            help="float | int8: 8-bit activations in the ONNX file; takes --data, whose training images calibrate."
        ),
    ] = "float",
    precision: Annotated[str, typer.Option(help=f"What Core ML computes in: {' | '.join(PRECISIONS)}.")] = PRECISIONS[
        0
    ],
    data: Annotated[str | None, typer.Option(help="Test images on which the accuracy is compared as well.")] = None,
    normalize: Normalize = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Run what was exported, and compare.")] = True,
) -> None:
    """Write a network for other runtimes; a file that doesn't say what the network says is not kept."""
    _check_targets({"--onnx": onnx, "--coreml": coreml, "--pt2": pt2, "--pt": pt})
    _check_choices(precision, activations, calibrated=onnx is not None and data is not None)
    artifact = read(file)
    built = None if model is None else build_model(model, classes=artifact.preprocessing.get("classes"))
    network = load(file, built)
    if pt is not None:
        _write(pt, state_dict_bytes(network), "float weights, torch.load(..., weights_only=True)")
    if onnx is None and pt2 is None and coreml is None:
        return
    example = example_input(artifact.preprocessing, shape)
    if coreml is not None:
        _write_coreml(coreml, artifact, network, example, precision)
    if onnx is None and pt2 is None:
        return
    program = traced(network, example)
    images = None
    if data is not None:
        images = load_data(data, normalize=normalize, preprocessing=dict(artifact.preprocessing))
    check: Check = partial(_checked, network, example, images) if verify else _unchecked
    if pt2 is not None:
        written = program_bytes(program)
        _write(pt2, written, check(lambda: program_from(written)))
    if onnx is not None:
        from ravn.exporters.onnx_graph import to_onnx

        layers = fixed_rates(artifact.layers)
        calibration = _calibration(images) if activations == "int8" and images is not None else []
        if verify and calibration:
            check = partial(_checked_int8, network, images)
        packed = to_onnx(program, layers, _metadata(artifact), opset, calibration)
        _write(onnx, packed.data, check(lambda: session(packed.data)))
        _show_sizes(packed, file, network, layers)


def _check_choices(precision: str, activations: str, *, calibrated: bool) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision} is impossible; give {' or '.join(PRECISIONS)}")
    if activations not in ACTIVATIONS or (activations == "int8" and not calibrated):
        raise InputError(f"--activations {activations} is impossible; give float, or int8 with --onnx and --data")


def _check_targets(targets: Mapping[str, Path | None]) -> None:
    if not any(targets.values()):
        raise InputError(f"say what to export: {', '.join(targets)}, each with the file to write")
    for option, target in targets.items():
        if target is None:
            continue
        folder = target.resolve().parent
        if option == "--coreml":
            if target.suffix != PACKAGE or (target.exists() and not (target / "Manifest.json").is_file()):
                raise InputError(f"--coreml {target} can't be written; give a new name that ends in {PACKAGE}")
        elif target.is_dir():
            raise InputError(f"{option} {target} is a folder; give the file to write")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(f"{option} {target} can't be written: {folder} is no folder that takes files")
    written = [target.resolve() for target in targets.values() if target is not None]
    if len(set(written)) < len(written):
        raise InputError(f"{written[0]} can't hold several exports; give each a file of its own")


def _write_coreml(path: Path, artifact: Artifact, network: nn.Module, example: Tensor, precision: str) -> None:
    from ravn.exporters.coreml import to_coreml

    layers = fixed_rates(artifact.layers)
    program = traced(network, example, any_batch=False)
    package = to_coreml(program, layers, _metadata(artifact), precision)
    write_package_atomic(path, package.files)
    console = output()
    console.print(
        f"{path}: {package.size_bytes:,} bytes; not run, since Core ML runs on Apple's systems alone", soft_wrap=True
    )
    widths = sorted(package.palettes.values())
    if widths:
        console.print(
            f"  {len(widths)} layers are indices of {widths[0][0]} to {widths[-1][0]} bits into tables, exact to"
            f" {precision}",
            soft_wrap=True,
        )
    if package.rounded:
        console.print(
            f"  {len(package.rounded)} layers have too many levels for tables and are rounded to 8 bits;"
            " `ravn compress --target export` avoids it",
            soft_wrap=True,
        )
    if package.left:
        console.print(f"  not packed: {', '.join(package.left)}", soft_wrap=True)


def _checked(network: nn.Module, example: Tensor, images: ImageData | None, start: Callable[[], Run]) -> str:
    """Compare an exported network with the network, and say how near they are."""
    run = start()
    said = f"outputs within {largest_difference(network, run, example):.1e} of PyTorch's"
    return said if images is None else f"{said}, {_compared(network, run, images, ROUNDING)}"


def _checked_int8(network: nn.Module, images: ImageData | None, start: Callable[[], Run]) -> str:
    run = start()
    return "" if images is None else _compared(network, run, images, INT8)


def _compared(network: nn.Module, run: Run, images: ImageData, allowed: float) -> str:
    bars = Bars()
    before, after = accuracies(network, run, images.test, images.transform, lambda b: bars.track(b, "verify"))
    ensure_as_accurate(before, after, allowed)
    return f"{after:.2f} % of {size(images.test):,} test images as against {before:.2f} %"


def _calibration(images: ImageData) -> list[Tensor]:
    drawn_images = drawn(images.train, CALIBRATION, seed=0)
    return [images.transform(stored).contiguous() for stored, _ in in_order(drawn_images, CALIBRATION // 4)]


def _unchecked(start: Callable[[], Run]) -> str:
    del start
    return "not verified"


def _write(path: Path, data: bytes, remark: str) -> None:
    write_atomic(path, data)
    output().print(f"{path}: {len(data):,} bytes; {remark}", soft_wrap=True)


def _metadata(artifact: Artifact) -> dict[str, str]:
    plan = json.loads(Plan(artifact.codecs, artifact.allocator).to_json())
    values = {"plan": plan, "preprocessing": dict(artifact.preprocessing), "model": artifact.model}
    return {f"ravn.{key}": json.dumps(value, separators=(",", ":")) for key, value in values.items()}


def _show_sizes(packed: "OnnxFile", file: Path, network: nn.Module, layers: Mapping[str, FixedRate]) -> None:
    console = output()
    weights = sum(network.get_parameter(name).numel() for name in layers)
    coded = sum(layer.size_bytes for layer in layers.values())
    rate = 8 * coded / max(weights, 1)
    share = len(packed.data) / packed.float_bytes
    console.print(f"  {share:.3f} of the float ONNX file's {packed.float_bytes:,} bytes", soft_wrap=True)
    console.print(
        f"  weights at their best fixed rate, {rate:.2f} bits each: {coded:,} bytes; entropy-coded, {file} takes"
        f" {file.stat().st_size:,} bytes in all",
        soft_wrap=True,
    )
    if packed.left:
        console.print(f"  not packed: {', '.join(packed.left)}", soft_wrap=True)
