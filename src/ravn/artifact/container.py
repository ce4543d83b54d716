"""The bytes of a .ravn file: a safetensors file of at most three streams.

`docs/format.md` describes them. Nothing that a file says is believed before it has been checked:
whatever is wrong becomes one `ArtifactError` that names the file and the fault.
"""

import struct
import zlib

import numpy as np
from safetensors.numpy import save

from ravn.artifact import strict_json
from ravn.artifact.checks import brief, column, entry, extent
from ravn.artifact.planes import deflate, inflate
from ravn.artifact.schema import from_document, to_document
from ravn.artifact.spec import Artifact
from ravn.errors import ArtifactError, InputError

VERSION = 1
MAX_HEADER_BYTES = 1024
MAX_ELEMENTS_PER_BYTE = 64
"""1/8 bit for each weight."""
FREE_ELEMENTS = 1 << 18
"""So many more, for networks that are little more than their names."""
_STREAMS = ("codes", "spec", "tensors")
_LENGTH = struct.Struct("<Q")
_HEAD = struct.Struct("<BIII")
_TEXT = bytes([*range(32, 127), *b"\t\n\r"])
_CHECKPOINTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def pack(artifact: Artifact) -> bytes:
    """Write an artifact; the same artifact always gives the same bytes.

    Raises:
        InputError: something in it has no place in the format.
    """
    data = _written(artifact)
    try:
        unpack(data, source="its file")
    except ArtifactError as error:
        raise InputError(f"{artifact.source} can't be written: {error}") from error
    return data


def size_bytes(artifact: Artifact) -> int:
    """Size of an artifact's file, even of one that `pack` refuses because its weights take next to nothing.

    Raises:
        InputError: something in it has no place in the format.
    """
    return len(_written(artifact))


def least_bytes(artifact: Artifact) -> int:
    """Size of the smallest file that may hold tensors of such shapes: `pack` refuses to write a smaller one."""
    shapes = [encoded.shape for encoded in artifact.layers.values()]
    shapes += [tuple(tensor.shape) for tensor in artifact.tensors.values()]
    return max(-(-(sum(map(extent, shapes)) - FREE_ELEMENTS) // MAX_ELEMENTS_PER_BYTE), 0)


def _written(artifact: Artifact) -> bytes:
    document, codes, tensors = to_document(artifact)
    try:
        body = deflate(strict_json.dumps(document))
    except (RecursionError, TypeError, ValueError) as error:
        raise InputError(f"the preprocessing of {artifact.source} is not plain JSON ({error})") from error
    head = _HEAD.pack(VERSION, zlib.crc32(body), zlib.crc32(codes), zlib.crc32(tensors))
    streams = {"codes": codes, "spec": head + body, "tensors": tensors}
    return bytes(save({name: np.frombuffer(stream, np.uint8) for name, stream in streams.items() if stream}))


def unpack(data: bytes, *, source: str = "this file") -> Artifact:
    """Read a file's bytes; the weights stay coded until `Artifact.state_dict`.

    Args:
        data: the whole file.
        source: what error messages call the file.

    Raises:
        ArtifactError: the file is truncated, altered, foreign or newer.
    """
    refuse_foreign(data[: _LENGTH.size + MAX_HEADER_BYTES], source=source)
    try:
        return _unpacked(data, source)
    except ArtifactError as error:
        raise ArtifactError(f"{source} can't be opened: {brief(str(error))}") from error


def refuse_foreign(start: bytes, *, source: str) -> None:
    """Recognise by its first bytes what is no .ravn file.

    Args:
        start: the file's first `8 + MAX_HEADER_BYTES` bytes, or all of it.
        source: what the error message calls the file.

    Raises:
        ArtifactError: it is empty, a PyTorch checkpoint, text, or another safetensors file.
    """
    kind = ""
    if not start:
        kind = "empty"
    elif start.startswith(_CHECKPOINTS):
        kind = "a pickle or zip archive, as PyTorch checkpoints are"
    elif not start[:64].translate(None, _TEXT):
        kind = "text"
    elif _is_foreign_header(start):
        kind = "a safetensors file that ravn didn't write"
    if kind:
        raise ArtifactError(f"{source} is {kind}, not a .ravn file; give one that `ravn compress` wrote")


def _is_foreign_header(start: bytes) -> bool:
    header = start[_LENGTH.size :]
    if not header.startswith(b"{") or b'"spec"' in header:
        return False
    declared = int.from_bytes(start[: _LENGTH.size], "little")
    return len(header) >= min(declared, MAX_HEADER_BYTES)


def _unpacked(data: bytes, source: str) -> Artifact:
    streams = _streams(data)
    spec, codes, tensors = (streams.get(name, b"") for name in ("spec", "codes", "tensors"))
    if spec[:1] > bytes([VERSION]):
        raise ArtifactError(f"it has format {spec[0]}, and this ravn reads up to {VERSION}; update ravn to open it")
    if len(spec) < _HEAD.size or spec[:1] < b"\1":
        raise ArtifactError("its spec has a broken head")
    _, *sums = _HEAD.unpack_from(spec)
    body = spec[_HEAD.size :]
    for name, stream, expected in zip(("spec", "codes", "tensors"), (body, codes, tensors), sums, strict=True):
        if zlib.crc32(stream) != expected:
            raise ArtifactError(f"its stream {name!r} was altered: the checksum differs")
    # What is parsed takes up to 80 times the memory of its text.
    document = strict_json.loads(inflate(body, (1 << 16) + 50 * len(body)))
    limit = FREE_ELEMENTS + MAX_ELEMENTS_PER_BYTE * len(data)
    return from_document(document, codes, tensors, max_elements=limit, source=source)


def _streams(data: bytes) -> dict[str, bytes]:
    """The streams of the container, which must fill it without gap or overlap."""
    if len(data) < _LENGTH.size:
        raise ArtifactError(f"it is truncated: it has {len(data)} bytes")
    length = _LENGTH.unpack_from(data)[0]
    if length > MAX_HEADER_BYTES:
        raise ArtifactError(f"its header claims {length} bytes, and {MAX_HEADER_BYTES} is the most")
    if length > len(data) - _LENGTH.size:
        raise ArtifactError(f"it is truncated: its header takes {length} bytes, not all are there")
    body = data[_LENGTH.size + length :]
    header = strict_json.loads(data[_LENGTH.size : _LENGTH.size + length])
    if not isinstance(header, dict) or not header.keys() <= set(_STREAMS) or "spec" not in header:
        raise ArtifactError(f"its header doesn't hold just the streams {', '.join(_STREAMS)}")
    streams, position = {}, 0
    for name, (start, stop) in sorted(((n, _region(header, n)) for n in header), key=lambda item: item[1]):
        if start != position or stop <= start:
            raise ArtifactError(f"its stream {name!r} overlaps another or leaves a gap")
        streams[name], position = body[start:stop], stop
    if position != len(body):
        raise ArtifactError(
            f"it should hold {position} bytes after its header, and holds {len(body)}: "
            "it is truncated or longer than it was written"
        )
    return streams


def _region(header: dict[str, object], name: str) -> tuple[int, int]:
    described = entry(header, name, {})
    start, stop = column(described, "data_offsets", 2)
    sizes = column(described, "shape", 1)
    if not all(type(number) is int for number in (start, stop, *sizes)) or described.keys() != {
        "data_offsets",
        "dtype",
        "shape",
    }:
        raise ArtifactError(f"its header describes the stream {name!r} with something else than whole numbers")
    if described["dtype"] != "U8" or sizes[0] != stop - start:
        raise ArtifactError(f"its header contradicts itself about the stream {name!r}")
    return start, stop
