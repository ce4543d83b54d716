"""The one door to coremltools: a network as a Core ML package whose weights are indices into tables.

Core ML looks tables up itself (`constexpr_lut_to_dense`, from iOS 18 and macOS 15 on). Indices are of one width: there
is nothing like the two stages of `ravn.runtime`.
"""

import contextlib
import io
import json
import logging
import tempfile
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from ravn.errors import InputError, MissingPackageError
from ravn.exporters.matching import Array, Match, matched, scales_of
from ravn.exporters.palettes import Floats, Palette, Rounded, palette, rounded
from ravn.exporters.programs import unsupported
from ravn.runtime import FixedRate, table_values

logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns of every torch that is newer than itself
try:
    import coremltools
    from coremltools.converters.mil.mil import Builder, types
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.helper import block_context_manager
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass
except ImportError as missing:
    raise MissingPackageError(missing.name or "coremltools", "coreml") from missing

_PASS = "ravn::stored_weights"
_SPEC, _MANIFEST = "Data/com.apple.CoreML/model.mlmodel", "Manifest.json"
_DATE = "com.github.apple.coremltools.conversion_date"

Stored = Palette | Rounded
Choose = Callable[[Mapping[str, Array]], Mapping[str, Stored]]
"""From constants of a graph, by name, to how those are stored that are weights."""


@dataclass(frozen=True)
class CoreMLPackage:
    """A Core ML package with palettized weights.

    Args:
        files: bytes of every file by its path in the package.
        palettes: width of the indices and number of tables of every layer that is in the package exactly.
        rounded: layers that no tables hold, in 8 bits per weight.
        left: layers of the network that the package holds in floating point, or not at all.
    """

    files: Mapping[str, bytes]
    palettes: Mapping[str, tuple[int, int]]
    rounded: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))


def to_coreml(
    program: ExportedProgram,
    layers: Mapping[str, FixedRate],
    metadata: Mapping[str, str],
    precision: str = "float16",
) -> CoreMLPackage:
    """Write a program as a Core ML package.

    Args:
        program: the network at one batch size, with the weights that `layers` hold.
        layers: fixed-length form of each weight by its name in the network.
        metadata: what the package tells about itself.
        precision: "float16" or "float32", in which Core ML computes, and stores what is no index.

    Raises:
        InputError: an operator has no Core ML form; it is named with its layer.
    """
    dtype = np.dtype(precision)
    close = 4 * float(np.finfo(precision).eps)
    weights = {name: program.state_dict[name].detach().float().numpy().astype(dtype) for name in layers}
    stored: dict[str, Stored] = {}

    def choose(arrays: Mapping[str, Array]) -> Mapping[str, Stored]:
        """Recognise weights, and remember what became of them."""
        found = {}
        for name, match in matched(arrays, weights, close=close).items():
            found[name] = stored[match.layer] = _stored(layers[match.layer], match, arrays[name], dtype.itemsize)
        return found

    files = _files(_converted(program, precision, choose), metadata)
    palettes = {n: (s.width, len(s.tables)) for n, s in stored.items() if isinstance(s, Palette)}
    return CoreMLPackage(
        files,
        palettes,
        tuple(sorted(set(stored) - set(palettes))),
        tuple(sorted(set(layers) - set(stored))),
    )


def _stored(layer: FixedRate, match: Match, array: Array, entry_bytes: int) -> Stored:
    """How a constant of the graph is stored: exactly if tables can hold it."""
    exact = None
    if not layer.spectral:
        values, scales = table_values(layer).numpy(), scales_of(layer, match)
        if match.transposed:
            values, scales = values.T, scales.T
        exact = palette(values, scales, entry_bytes)
    return exact or rounded(array.astype(np.float32))


@register_pass(namespace="ravn")
class stored_weights(AbstractGraphPass):  # type: ignore[misc]  # untyped; in the words of passes
    """Replaces constants by what Core ML makes constants of."""

    choose: Choose = staticmethod(lambda _: {})

    def apply(self, prog: Any) -> None:  # noqa: ANN401 - coremltools has no types
        """Replace them in all functions of a program."""

        @block_context_manager  # type: ignore[untyped-decorator]
        def replaced(block: Any) -> None:  # noqa: ANN401
            """Replace them in one block."""
            constants = {op.outputs[0].name: op for op in block.operations if op.op_type == "const"}
            arrays = {name: op.outputs[0].val for name, op in constants.items()}
            for name, stored in self.choose({n: a for n, a in arrays.items() if _is_weight(a)}).items():
                old, dtype = constants[name], arrays[name].dtype
                new = _table(stored, dtype, old) if isinstance(stored, Palette) else _integers(stored, dtype, old)
                block.replace_uses_of_var_after_op(
                    anchor_op=old, old_var=old.outputs[0], new_var=new, no_check_var_types=True
                )

        for function in prog.functions.values():
            replaced(function)


def _is_weight(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.ndim > 1 and array.dtype.kind == "f"


def _table(stored: Palette, dtype: Any, before: Any) -> Any:  # noqa: ANN401
    indices = stored.indices.astype(types.type_mapping.string_to_nptype(f"uint{stored.width}"))
    groups, size = stored.tables.shape
    ones = (1,) * (indices.ndim - 1)
    # A power of two keeps small scales among the normal numbers of float16.
    power = np.float32(1) if stored.scales is None else np.exp2(np.ceil(np.log2(np.abs(stored.tables).max() or 1)))
    tables = (stored.tables / power).astype(dtype).reshape(groups, *ones, size, 1)
    looked_up = Builder.constexpr_lut_to_dense(indices=indices, lut=tables, before_op=before)
    if stored.scales is None:
        return looked_up
    return _scaled(looked_up, stored.scales * power, dtype, before)


def _integers(stored: Rounded, dtype: Any, before: Any) -> Any:  # noqa: ANN401
    return _scaled(stored.integers, stored.scales, dtype, before)


def _scaled(data: Any, scales: Floats, dtype: Any, before: Any) -> Any:  # noqa: ANN401
    return Builder.constexpr_blockwise_shift_scale(data=data, scale=scales.astype(dtype), before_op=before)


def _converted(program: ExportedProgram, precision: str, choose: Choose) -> Any:  # noqa: ANN401
    pipeline = coremltools.PassPipeline.DEFAULT
    pipeline.append_pass(_PASS)
    pipeline.set_options(_PASS, {"choose": choose})
    try:
        with _quiet():
            return coremltools.convert(
                _without_aliases(program.run_decompositions({})),
                minimum_deployment_target=coremltools.target.iOS18,
                compute_precision=getattr(coremltools.precision, precision.upper()),
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
    except Exception as error:  # coremltools' errors have no base of their own
        with _quiet():
            traceback.clear_frames(error.__traceback__)  # temporary folders among them
        raise InputError(unsupported(program, error, r"(?:op '|kind )([\w.]+)", "Core ML")) from error


def _without_aliases(program: ExportedProgram) -> ExportedProgram:
    """The program, which is changed, without operators that only give a tensor another name; coremltools has none."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without bars and warnings on the error stream."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _files(model: Any, metadata: Mapping[str, str]) -> dict[str, bytes]:  # noqa: ANN401
    """The files of the package; the same network gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        root = Path(folder) / "model.mlpackage"
        model.save(str(root))
        spec = coremltools.utils.load_spec(str(root / _SPEC))
        manifest = (root / _MANIFEST).read_text()
        # What is not in the manifest is for debuggers.
        files = {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted((root / "Data").rglob("*"))
            if path.is_file()
        }
    described = spec.description.metadata.userDefined
    described.pop(_DATE, None)
    described.update(metadata)
    files[_SPEC] = spec.SerializeToString(deterministic=True)
    files[_MANIFEST] = _steady(json.loads(manifest)).encode()
    return files


def _steady(manifest: dict[str, Any]) -> str:
    """The manifest with identifiers that are no random numbers, in the order of names."""
    entries = sorted(manifest["itemInfoEntries"].items(), key=lambda entry: entry[1]["name"])
    text = json.dumps(manifest | {"itemInfoEntries": dict(entries)}, indent=2)
    for identifier, item in entries:
        text = text.replace(identifier, str(uuid.uuid5(uuid.NAMESPACE_OID, item["name"])))
    return text
