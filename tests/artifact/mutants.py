"""Mutants of valid files. A family is one way to lie, a function of a valid file and a source of chance.

`ALTERED` families change bytes of a file: checksums give them away, unless nothing of importance has changed.
`CRAFTED` families write a file anew with right checksums, as somebody would who knows the format.
"""

import copy
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from ravn.artifact import Artifact, pack
from ravn.artifact.planes import deflate

Document = dict[str, Any]
HOSTILE = (
    -1, 0, 1, 3, 2**31, 2**63, 2**64, 10**30, -0.5, 1e308, True, None,
    "", "x", "\ud800", "float32", "float64", "bfloat16", "exact", "constant", "entropy", "uniform",
    [], [1], [[1]], {}, {"codec": "entropy"}, {"codec": "entropy", "step": "x"},
    {"codec": "entropy", "step": 1e300}, {"codec": "uniform", "bits": True}, {"codec": "cluster", "bits": [9]},
    [[2**40, 2**40]], [0, 2**62], [1] * 33,
)  # fmt: skip
SIZES = (-1, 0, 1, 2, 7, 255, 2**16, 2**31, 2**32, 2**63, 10**40)
NUMBERS = tuple(struct.pack("<f", x) for x in (float("nan"), float("inf"), float("-inf"), -1.0, 3e38, 1e-45, 0.0))


@dataclass(frozen=True)
class Valid:
    """A file, and what it is made of."""

    data: bytes
    document: Document
    codes: bytes
    tensors: bytes

    @property
    def header_bytes(self) -> int:
        length: int = struct.unpack_from("<Q", self.data)[0]
        return length


Family = Callable[[Valid, Random], bytes]


def parsed(data: bytes) -> Valid:
    """Take a file apart that is known to be good."""
    streams = {name: stream.tobytes() for name, stream in load(data).items()}
    document = json.loads(zlib.decompress(streams["spec"][13:], -zlib.MAX_WBITS))
    return Valid(data, document, streams.get("codes", b""), streams.get("tensors", b""))


def valid(artifact: Artifact) -> Valid:
    """The file of an artifact."""
    return parsed(pack(artifact))


def framed(body: bytes, codes: bytes, tensors: bytes) -> bytes:
    """A file with right checksums around any three streams."""
    sums = [zlib.crc32(stream) for stream in (body, codes, tensors)]
    streams = {"codes": codes, "spec": struct.pack("<B3I", 1, *sums) + body, "tensors": tensors}
    return bytes(save({name: np.frombuffer(stream, np.uint8) for name, stream in streams.items() if stream}))


def written(file: Valid) -> bytes:
    """A file with right checksums, whatever its document says."""
    return framed(deflate(json.dumps(file.document).encode()), file.codes, file.tensors)


# ALTERED: the bytes.


def flipped_bits(file: Valid, chance: Random) -> bytes:
    return flipped(file.data, chance)


def flipped(data: bytes, chance: Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chance.randint(1, 3) if mutant else 0):
        mutant[chance.randrange(len(mutant))] ^= 1 << chance.randrange(8)
    return bytes(mutant)


def changed_header(file: Valid, chance: Random) -> bytes:
    mutant = bytearray(file.data)
    mutant[chance.randrange(8 + file.header_bytes)] = chance.randrange(256)
    return bytes(mutant)


def truncated(file: Valid, chance: Random) -> bytes:
    return file.data[: chance.randrange(len(file.data))]


def cut(file: Valid, chance: Random) -> bytes:
    start = chance.randrange(len(file.data))
    return file.data[:start] + file.data[start + chance.choice([1, 2, 8, 64]) :]


def repeated(file: Valid, chance: Random) -> bytes:
    start, length = chance.randrange(len(file.data)), chance.randint(1, 64)
    return file.data[: start + length] + file.data[start:]


def overwritten(file: Valid, chance: Random) -> bytes:
    start, length = chance.randrange(len(file.data)), chance.randint(1, 16)
    filler = chance.choice([b"\0", b"\xff", b"9", b"{"]) * length
    return file.data[:start] + filler + file.data[start + length :]


def rotated(file: Valid, chance: Random) -> bytes:
    middle = chance.randrange(len(file.data))
    return file.data[middle:] + file.data[:middle]


def wrong_checksum(file: Valid, chance: Random) -> bytes:
    mutant, body = bytearray(file.data), load(file.data)["spec"].tobytes()
    at = file.data.index(body) + chance.choice([1, 5, 9])
    mutant[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4, chance.randbytes(4)])
    return bytes(mutant)


def lying_header_length(file: Valid, chance: Random) -> bytes:
    length = file.header_bytes
    lie = chance.choice([0, 1, length - 1, length + 1, length + 8, 1024, 1025, 2**63, 2**64 - 1])
    return struct.pack("<Q", lie) + file.data[8:]


def lying_offsets(file: Valid, chance: Random) -> bytes:
    """Streams that overlap, are swapped, leave gaps or have other sizes than they say."""
    header = json.loads(file.data[8 : 8 + file.header_bytes])
    name, other = chance.choice(list(header)), chance.choice(list(header))
    kind = chance.randrange(4)
    if kind == 0:
        header[name] = header[other]
    elif kind == 1:
        header[name], header[other] = header[other], header[name]
    else:
        place = header[name]["data_offsets" if kind == 2 else "shape"]
        at = chance.randrange(len(place))
        place[at] = chance.choice([place[at] + chance.randint(-4, 4), *SIZES, 1.5, None, "1"])
    return headed(json.dumps(header).encode(), file)


def headed(header: bytes, file: Valid) -> bytes:
    return struct.pack("<Q", len(header)) + header + file.data[8 + file.header_bytes :]


def duplicate_stream(file: Valid, chance: Random) -> bytes:
    header = file.data[8 : 8 + file.header_bytes].rstrip()
    entries = json.loads(header)
    name = chance.choice(list(entries))
    return headed(header[:-1] + b"," + json.dumps({name: entries[name]}).encode()[1:], file)


def foreign_container(file: Valid, chance: Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("model.ravn", file.data)
        return chance.choice([buffer.getvalue(), file.data + buffer.getvalue()])
    if kind == 1:
        return gzip.compress(file.data, mtime=0)
    if kind == 2:
        return pickle.dumps(file.data, protocol=chance.randint(0, 5))
    if kind == 3:
        return bytes(save({**load(file.data), "more": np.ones(chance.randint(1, 9), chance.choice([np.uint8, float]))}))
    if kind == 4:
        return bytes(save(load(file.data), metadata={"format": "pt"}))
    return chance.choice([b"\xef\xbb\xbf", b"\n", b"\0", b"\x1f\x8b", b"GGUF", b"\x08\x01\x12\x07"]) + file.data


# CRAFTED: what the spec says.


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values inside a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def lying_document(file: Valid, chance: Random) -> bytes:
    """One value anywhere in the spec is replaced, dropped or doubled."""
    document = copy.deepcopy(file.document)
    *path, last = chance.choice(list(places(document)))
    inner: Any = document
    for key in path:
        inner = inner[key]
    action = chance.random()
    if action < 0.8:
        inner[last] = chance.choice(HOSTILE)
    elif action < 0.9 or isinstance(inner, dict):
        del inner[last]
    else:
        inner.append(inner[last])
    return written(replace(file, document=document))


def lying(column: str, *tables: str) -> Callable[[Callable[[list[Any], int, Random], None]], Family]:
    """A family that changes one column of a table of the spec."""

    def family(change: Callable[[list[Any], int, Random], None]) -> Family:
        def mutant(file: Valid, chance: Random) -> bytes:
            document = copy.deepcopy(file.document)
            values = document[chance.choice(tables)][column]
            change(values, chance.randrange(len(values)), chance)
            return written(replace(file, document=document))

        mutant.__name__ = change.__name__
        return mutant

    return family


@lying("shape", "layers", "tensors")
def lying_shape(shapes: list[list[int]], row: int, chance: Random) -> None:
    shape = shapes[row]
    kind = chance.randrange(6)
    if kind == 0:
        chance.shuffle(shape)
    elif kind == 1:
        shapes[row] = [int(np.prod(shape))]
    elif kind == 2:
        shape.insert(chance.randint(0, len(shape)), chance.choice([0, 1, 2]))
    elif kind == 3:
        shapes[row] = shapes[chance.randrange(len(shapes))]
    elif kind == 4 or not shape:
        shapes[row] = [chance.choice([1, 2, 5, 50, 500]) for _ in range(chance.choice([0, 1, 2, 4, 31, 32, 33]))]
    else:
        shape[chance.randrange(len(shape))] = chance.choice([*SIZES, *range(12)])


@lying("bytes", "layers")
def lying_lengths(lengths: list[int], row: int, chance: Random) -> None:
    moved, other = chance.choice([1, 2, 4, 8, lengths[row], 2**40]), chance.randrange(len(lengths))
    lengths[row] -= moved
    if chance.random() < 0.9:
        lengths[other] += moved


@lying("name", "layers", "tensors")
def duplicate_names(names: list[str], row: int, chance: Random) -> None:
    names[row] = chance.choice([*names, "", "conv.weight", "bn.weight", "tail.weight", "x" * 10_000])


@lying("run", "layers", "tensors")
def lying_runs(runs: list[int], row: int, chance: Random) -> None:
    runs[row] += chance.choice([-1, 1, 1000, 2**62])
    if chance.random() < 0.5:
        runs.append(sum(runs) // 2)


@lying("dtype", "layers", "tensors")
def lying_dtypes(dtypes: list[str], row: int, chance: Random) -> None:
    dtypes[row] = chance.choice(["float64", "float32", "float16", "bfloat16", "int64", "int8", "bool", "complex64"])


@lying("stored", "tensors")
def lying_storage(stored: list[str], row: int, chance: Random) -> None:
    stored[row] = chance.choice(["zero", "constant", "float16", "float32", "exact", "float64"])


def foreign_codec(file: Valid, chance: Random) -> bytes:
    """Payloads that another codec wrote."""
    document = copy.deepcopy(file.document)
    document["codecs"] += [
        {"codec": "uniform", "bits": 2},
        {"codec": "cluster", "bits": [1, 2]},
        {"codec": "codebook", "bits": 2},
        {"codec": "entropy", "step": 0.1},
        {"codec": "trellis", "step": 0.1},
        chance.choice(document["codecs"]),
    ]
    column = document["layers"]["codec"]
    column[chance.randrange(len(column))] = chance.randrange(len(document["codecs"]))
    return written(replace(file, document=document))


def lying_ties(file: Valid, chance: Random) -> bytes:
    names = [*file.document["tied"], *file.document["tied"].values(), "nowhere", "bn.weight", ""]
    tied = {chance.choice(names): chance.choice(names) for _ in range(chance.randint(1, 3))}
    return written(replace(file, document=file.document | {"tied": tied}))


def absurd_counts(file: Valid, chance: Random) -> bytes:
    """More names, codecs or ties than any file of that size has."""
    count, document = chance.choice([100, 1000, 20_000]), copy.deepcopy(file.document)
    names = [str(number) for number in range(count)]
    kind = chance.randrange(4)
    if kind == 0:
        document["codecs"] *= count
    elif kind == 1:
        document["tied"] = dict.fromkeys(names, "head.bias")
    elif kind == 2:
        table = {"shape": [[]] * count, "dtype": ["int8"] * count, "stored": ["zero"] * count}
        document["tensors"] = {"prefix": [""], "run": [count], "name": names} | table
    else:
        table = {"shape": [[0]] * count, "dtype": ["float16"] * count, "codec": [0] * count, "bytes": [0] * count}
        document["layers"] = {"prefix": [""], "run": [count], "name": names} | table
    return written(replace(file, document=document))


# CRAFTED: what the spec is.


def flipped_json(file: Valid, chance: Random) -> bytes:
    body = deflate(flipped(json.dumps(file.document).encode(), chance))
    return framed(body, file.codes, file.tensors)


def deep_json(file: Valid, chance: Random) -> bytes:
    depth = chance.choice([31, 33, 500, 5000, 100_000])
    opened, closed = chance.choice([("[", "]"), ('{"a":', "}"), ('["\u2201",', "]")])
    text = '{"preprocessing":{"a":' + opened * depth + "0" + closed * chance.choice([depth, 0]) + '}}"'
    text = text[:-1] if chance.random() < 0.5 else text
    body = deflate(text.encode(chance.choice(["utf-8", "utf-16", "utf-16-le", "utf-32-be"])))
    return framed(body, file.codes, file.tensors)


def broken_deflate(file: Valid, chance: Random) -> bytes:
    """Deflated streams that are flipped, cut or followed by something, under right checksums."""
    streams = [deflate(json.dumps(file.document).encode()), file.tensors]
    place = chance.randrange(2)
    stream = streams[place]
    streams[place] = chance.choice(
        [flipped(stream, chance), stream[: chance.randrange(len(stream))], stream + b"\0", stream * 2]
    )
    return framed(streams[0], file.codes, streams[1])


@lru_cache
def bomb(unit: bytes, size: int) -> bytes:
    return deflate(unit * (size // len(unit)))


def zip_bomb(file: Valid, chance: Random) -> bytes:
    """A compressed part that inflates to far more than belongs there."""
    size = chance.choice([1 << 16, 1 << 20, 1 << 24])
    if chance.random() < 0.5:
        unit = chance.choice([b" ", b"[],", b'"",', b"9", b"\0"])
        return framed(bomb(unit, size), file.codes, file.tensors)
    document = copy.deepcopy(file.document)
    document["tensors"]["shape"][0] = [chance.choice([4, 4096, 1 << 18, size // 4, size])]
    document["tensors"]["stored"][0] = "exact"
    return written(replace(file, document=document, tensors=bomb(b"\0", size)))


# CRAFTED: codes and tensors.


def flipped_codes(file: Valid, chance: Random) -> bytes:
    return written(replace(file, codes=flipped(file.codes, chance)))


def payload_bounds(file: Valid) -> list[tuple[int, int]]:
    """Where each layer's payload starts and stops in the codes."""
    return list(pairwise(accumulate(file.document["layers"]["bytes"], initial=0)))


def absurd_scales(file: Valid, chance: Random) -> bytes:
    """NaN, infinity and the like where a payload holds its scale or step, or near it."""
    start, stop = chance.choice(payload_bounds(file))
    at = min(start + chance.randrange(12), stop)
    codes = file.codes[:at] + chance.choice(NUMBERS) + file.codes[at + 4 :]
    return written(replace(file, codes=codes[: len(file.codes)]))


def changed_heads(file: Valid, chance: Random) -> bytes:
    """Another byte in the first few of a payload, which say how to read the others."""
    codes, (start, stop) = bytearray(file.codes), chance.choice(payload_bounds(file))
    at = chance.randrange(start, min(start + 12, stop))
    codes[at] = chance.choice([0, 1, 8, 64, 127, 128, 129, 255, chance.randrange(256)])
    return written(replace(file, codes=bytes(codes)))


def other_payload(file: Valid, chance: Random) -> bytes:
    """A payload cut, lengthened, emptied, repeated or made of noise, and its length told truly."""
    row = chance.randrange(len(file.document["layers"]["bytes"]))
    start, stop = payload_bounds(file)[row]
    return with_payload(file, row, changed(file.codes[start:stop], chance))


def changed(payload: bytes, chance: Random) -> bytes:
    middle = chance.randrange(len(payload))
    noise = chance.randbytes(chance.choice([1, 4, 9, 64]))
    longer = (payload + noise, payload + bytes(4), payload * 2, payload[:middle] + noise + payload[middle:])
    return chance.choice([payload[:middle], payload[middle:], noise, b"", bytes(len(payload)), *longer])


def with_payload(file: Valid, row: int, payload: bytes) -> bytes:
    """The file with another payload in one layer, consistent in everything else."""
    document, (start, stop) = copy.deepcopy(file.document), payload_bounds(file)[row]
    document["layers"]["bytes"][row] = len(payload)
    return written(replace(file, document=document, codes=file.codes[:start] + payload + file.codes[stop:]))


def changed_tensors(file: Valid, chance: Random) -> bytes:
    """Other bytes in the tensors, deflated well: NaN, truth values beyond one, too many, too few."""
    raw = zlib.decompress(file.tensors, -zlib.MAX_WBITS)
    middle = chance.randrange(len(raw))
    mutant = chance.choice([flipped(raw, chance), b"\xff" * len(raw), raw[:middle], raw + bytes(middle + 1)])
    return written(replace(file, tensors=deflate(mutant)))


ALTERED: tuple[Family, ...] = (
    flipped_bits, changed_header, truncated, cut, repeated, overwritten, rotated, wrong_checksum,
    lying_header_length, lying_offsets, duplicate_stream, foreign_container,
)  # fmt: skip
CRAFTED: tuple[Family, ...] = (
    lying_document, lying_shape, lying_lengths, duplicate_names, lying_runs, lying_dtypes, lying_storage,
    foreign_codec, lying_ties, absurd_counts, flipped_json, deep_json, broken_deflate, zip_bomb, flipped_codes,
    absurd_scales, changed_heads, other_payload, changed_tensors,
)  # fmt: skip
