"""The spec of a .ravn file: an artifact as a JSON document and two streams of bytes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ravn.artifact.checks import column, entry, extent, shapes
from ravn.artifact.names import grouped, ungrouped
from ravn.artifact.spec import Artifact
from ravn.artifact.tensors import FLOATS, pack_tensors, unpack_tensors
from ravn.codecs import Codec, Encoded, codec_from_config
from ravn.errors import ArtifactError, InputError

_KEYS = frozenset({"model", "allocator", "preprocessing", "codecs", "layers", "tensors", "tied"})


def to_document(artifact: Artifact) -> tuple[dict[str, Any], bytes, bytes]:
    """Describe an artifact.

    Returns:
        The document, the concatenated payloads of the layers, and the stream of the other tensors.

    Raises:
        InputError: a tensor has a dtype that can't be stored.
    """
    configs = {name: _shortest(codec) for name, codec in artifact.codecs.items()}
    unique = {json.dumps(configs[name]): configs[name] for name in artifact.layers}
    places = {text: place for place, text in enumerate(unique)}
    layers = grouped(artifact.layers) | {
        "shape": [list(encoded.shape) for encoded in artifact.layers.values()],
        "dtype": [encoded.dtype for encoded in artifact.layers.values()],
        "codec": [places[json.dumps(configs[name])] for name in artifact.layers],
        "bytes": [encoded.size_bytes for encoded in artifact.layers.values()],
    }
    tensors, stream = pack_tensors(artifact.tensors)
    document = {
        "model": artifact.model,
        "allocator": artifact.allocator,
        "preprocessing": dict(artifact.preprocessing),
        "codecs": list(unique.values()),
        "layers": layers if artifact.layers else {},
        "tensors": tensors if artifact.tensors else {},
        "tied": dict(artifact.tied),
    }
    codes = b"".join(encoded.payload for encoded in artifact.layers.values())
    return {key: value for key, value in document.items() if value}, codes, stream


def from_document(document: object, codes: bytes, stream: bytes, *, max_elements: int, source: str) -> Artifact:
    """Read what `to_document` described.

    Raises:
        ArtifactError: the document is malformed, declares more than `max_elements` weights and
            tensor elements, or doesn't fit the streams.
    """
    if not isinstance(document, dict) or not document.keys() <= _KEYS:
        raise ArtifactError(f"its spec is no mapping of {', '.join(sorted(_KEYS))}")
    table = entry(document, "layers", {})
    codecs = [_codec(config) for config in entry(document, "codecs", [])]
    layers = dict(_layers(table, codecs, codes, max_elements=max_elements))
    rest = max_elements - sum(extent(encoded.shape) for encoded in layers.values())
    tied = entry(document, "tied", {})
    if not all(isinstance(first, str) for first in tied.values()):
        raise ArtifactError("its spec ties a name to something that is no name")
    places = column(table, "codec", len(layers))
    try:
        return Artifact(
            model=entry(document, "model", ""),
            preprocessing=entry(document, "preprocessing", {}),
            layers=layers,
            codecs={name: codecs[place] for name, place in zip(layers, places, strict=True)},
            tensors=unpack_tensors(entry(document, "tensors", {}), stream, max_elements=rest),
            tied=tied,
            allocator=entry(document, "allocator", ""),
            source=source,
        )
    except InputError as error:
        raise ArtifactError(f"its spec contradicts itself ({error})") from error


def _layers(
    table: dict[str, Any], codecs: Sequence[Codec], codes: bytes, *, max_elements: int
) -> Iterator[tuple[str, Encoded]]:
    names = ungrouped(table)
    sizes = shapes(table, len(names))
    dtypes, places = column(table, "dtype", len(names)), column(table, "codec", len(names))
    lengths = column(table, "bytes", len(names))
    if sum(map(extent, sizes)) > max_elements:
        raise ArtifactError("it declares layers that are too large for its size")
    if any(type(length) is not int or length < 0 for length in lengths) or sum(lengths) != len(codes):
        raise ArtifactError(f"the layers in its spec don't take the {len(codes)} bytes of its codes")
    if not all(type(place) is int and 0 <= place < len(codecs) for place in places):
        raise ArtifactError("its spec points to a codec that it doesn't hold")
    if not all(type(dtype) is str and dtype in FLOATS for dtype in dtypes):
        raise ArtifactError("its spec holds a layer whose dtype is no floating-point one")
    bounds = pairwise(accumulate(lengths, initial=0))
    for name, shape, dtype, place, (start, stop) in zip(names, sizes, dtypes, places, bounds, strict=True):
        if 0 in shape and start < stop:
            raise ArtifactError(f"its layer {name!r} holds no weight but {stop - start} bytes")
        yield name, Encoded(codecs[place].name, shape, dtype, codes[start:stop])


def _codec(config: object) -> Codec:
    if not isinstance(config, dict) or not isinstance(config.get("codec"), str):
        raise ArtifactError("its spec holds a codec without a name")
    try:
        with np.errstate(all="ignore"):
            return codec_from_config(config)
    except (ArithmeticError, TypeError, ValueError) as error:
        # InputError is a ValueError; the others are what constructors say to foreign types.
        raise ArtifactError(f"its spec holds a codec that can't be built ({error})") from error


def _shortest(codec: Codec) -> dict[str, Any]:
    """The configuration in the fewest digits that build the same codec."""
    config = codec.config()
    with np.errstate(over="ignore"):
        short = {
            key: float(str(np.float32(value))) if isinstance(value, float) else value for key, value in config.items()
        }
    with suppress(InputError):
        if codec_from_config(short) == codec:
            return short
    return config
