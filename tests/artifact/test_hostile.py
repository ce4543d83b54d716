"""Hostile files: each loads to exactly the same weights, or raises one ArtifactError.

Files that were written anew with right checksums may hold other weights, but of the shapes that they declare, and
finite ones.
"""

import copy
import json
import pickle
import struct
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from random import Random

import mutants
import numpy as np
import pytest
import torch
from mutants import Valid, framed, written
from safetensors.numpy import load, save
from subjects import EXAMPLES, subject, subjects

from ravn.artifact import Artifact, pack, unpack
from ravn.artifact.planes import deflate
from ravn.codecs import CODECS, Codec, Encoded, EntropyCodec
from ravn.errors import ArtifactError

NAME = "evil.ravn"
PATIENCE = 5
"""Seconds of process time: a busy machine takes one, and what hangs takes minutes."""

CODECS_BY_NAME = {codec.name: codec for codec in EXAMPLES}
State = dict[str, torch.Tensor]
per_codec = pytest.mark.parametrize("codec", EXAMPLES, ids=str)


def opened(data: bytes) -> tuple[Artifact, State] | None:
    """Open and decode, in a few seconds at most; None for an ArtifactError that names the file."""
    start, result, message = time.process_time(), None, NAME
    try:
        artifact = unpack(data, source=NAME)
        result = artifact, artifact.state_dict()
    except ArtifactError as error:
        message = str(error)
    assert message.startswith(NAME)
    assert "\n" not in message
    assert len(message) < 1000
    assert time.process_time() - start < PATIENCE
    return result


def assert_same_or_error(data: bytes, expected: State) -> bool:
    result = opened(data)
    if result is None:
        return False
    state = result[1]
    assert state.keys() == expected.keys()
    assert all(state[name].dtype == expected[name].dtype for name in expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    return True


def assert_sound_or_error(data: bytes) -> bool:
    result = opened(data)
    if result is None:
        return False
    artifact, state = result
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == artifact.shapes()
    for name, encoded in artifact.layers.items():
        assert state[name].dtype == getattr(torch, encoded.dtype)
        assert torch.isfinite(state[name]).all()
    return True


@cache
def files() -> list[tuple[Valid, State]]:
    valid = [mutants.valid(artifact) for artifact in subjects()]
    return [(file, unpack(file.data).state_dict()) for file in valid]


def attack(numbers: range) -> Counter[str]:
    """Open one mutant for each number, of all families and files in turn; count those that load by family."""
    loaded: Counter[str] = Counter()
    families = [*mutants.ALTERED, *mutants.CRAFTED]
    for number in numbers:
        family = families[number % len(families)]
        file, expected = files()[number // len(families) % len(files())]
        data = family(file, Random(number))
        try:
            good = assert_same_or_error(data, expected) if family in mutants.ALTERED else assert_sound_or_error(data)
        except BaseException as error:
            error.add_note(f"mutant {number}: {family.__name__}")
            raise
        loaded[family.__name__] += good
    return loaded


def test_500_mutants() -> None:
    loaded = attack(range(500))
    assert sum(loaded[family.__name__] for family in mutants.ALTERED) < 25


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_20000_mutants() -> None:
    loaded = attack(range(500, 20_500))
    assert sum(loaded[family.__name__] for family in mutants.ALTERED) < 1000
    # Codes have no redundancy: a flipped one is another weight, and crafted files get as far as the codecs.
    assert loaded["flipped_codes"] > 100


def test_every_codec_is_attacked() -> None:
    assert {codec.name for codec in EXAMPLES} == set(CODECS)


def test_a_file_put_together_again_is_the_same() -> None:
    for file, expected in files():
        assert assert_same_or_error(written(file), expected)


@per_codec
def test_every_truncation_is_refused(codec: Codec) -> None:
    data = pack(subject(codec))
    for length in range(len(data)):
        with pytest.raises(ArtifactError, match=NAME):
            unpack(data[:length], source=NAME)
    with pytest.raises(ArtifactError, match="longer than it was written"):
        unpack(data + b"\0", source=NAME)


def decodes(encoded: Encoded, payload: bytes) -> bool:
    """Whether a layer has weights, which must be finite and of its shape, or an ArtifactError."""
    layer = replace(encoded, payload=payload)
    try:
        weight = Artifact("", {}, {"w": layer}, {"w": CODECS_BY_NAME[layer.codec]}).state_dict()["w"]
    except ArtifactError:
        return False
    assert weight.shape == layer.shape
    assert torch.isfinite(weight).all()
    return True


@per_codec
def test_a_payload_truncated_anywhere_is_refused_or_sound(codec: Codec) -> None:
    for encoded in subject(codec).layers.values():
        payload = encoded.payload
        loaded = sum(decodes(encoded, payload[:length]) for length in range(len(payload)))
        # A range coder may run dry at a whole word; no other end is possible.
        assert loaded <= len(payload) / 4


@per_codec
def test_absurd_numbers_at_the_head_of_a_payload_are_refused_or_sound(codec: Codec) -> None:
    for encoded in subject(codec).layers.values():
        payload = encoded.payload
        for number, at in product(mutants.NUMBERS, range(16)):
            decodes(encoded, (payload[:at] + number + payload[at + 4 :])[: len(payload)])


def test_every_flipped_bit_of_the_streams_is_refused(sample: Artifact) -> None:
    data = pack(sample)
    for position in range(8 + struct.unpack_from("<Q", data)[0], len(data)):
        mutant = bytearray(data)
        mutant[position] ^= 1 << (position % 8)
        with pytest.raises(ArtifactError):
            unpack(bytes(mutant))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"Hello, I am a letter.\r\n", "is text"),
        (b"<html>\n<body>not found", "is text"),
        (pickle.dumps({"a": 1}), "is a pickle or zip archive"),
        (b"PK\x03\x04" + bytes(100), "is a pickle or zip archive"),
        (save({"weight": np.ones((3, 3), np.float32)}), "is a safetensors file that ravn didn't"),
        (save({f"w{i}": np.ones(3) for i in range(99)}), "is a safetensors file that ravn didn't"),
        (save({"spec": np.ones(3)}), "contradicts itself"),
        (save({"spec": np.ones(3, np.uint8), "w": np.ones(3)}), "doesn't hold just the streams"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "can't be opened"),
        (bytes(7), "truncated"),
        (bytes(1000), "JSON is broken"),
        (b"\xff" * 1000, "its header claims"),
    ],
)
def test_foreign_files_get_a_sentence_of_their_own(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^{NAME} .*{message}"):
        unpack(content, source=NAME)


def test_zip_bombs_stop_early(sample: Artifact) -> None:
    file, bomb = mutants.valid(sample), deflate(b" " * (1 << 26))
    start = time.process_time()
    with pytest.raises(ArtifactError, match="holds more than"):
        unpack(framed(bomb, file.codes, file.tensors))
    with pytest.raises(ArtifactError, match="holds more than"):
        unpack(written(replace(file, tensors=bomb)))
    assert time.process_time() - start < PATIENCE


@pytest.mark.parametrize("depth", [40, 10_000, 500_000])
def test_deep_json_is_refused(sample: Artifact, depth: int) -> None:
    file = mutants.valid(sample)
    with pytest.raises(ArtifactError, match=r"nested deeper|holds more than"):
        unpack(framed(deflate(b'{"model":' + b"[" * depth + b"]" * depth + b"}"), file.codes, file.tensors))


def test_a_repeated_stream_is_refused(sample: Artifact) -> None:
    for seed in range(3):
        with pytest.raises(ArtifactError, match="repeats a key"):
            unpack(mutants.duplicate_stream(mutants.valid(sample), Random(seed)))


def test_regions_may_not_overlap(sample: Artifact) -> None:
    file = mutants.valid(sample)
    header = json.loads(file.data[8 : 8 + file.header_bytes])
    header["tensors"] = header["codes"]
    with pytest.raises(ArtifactError, match="overlaps"):
        unpack(mutants.headed(json.dumps(header).encode(), file))


@pytest.mark.parametrize(
    ("table", "shape"), [("layers", [1 << 20, 1 << 20]), ("tensors", [1 << 50]), ("layers", [0, 1 << 62])]
)
def test_absurd_shapes_are_refused_before_allocation(sample: Artifact, table: str, shape: list[int]) -> None:
    file = mutants.valid(sample)
    document = copy.deepcopy(file.document)
    document[table]["shape"][0] = shape
    with pytest.raises(ArtifactError, match="too large for its size"):
        unpack(written(replace(file, document=document)))


def test_a_sentence_stays_short_whatever_the_file_says(sample: Artifact) -> None:
    name = "x" * 20_000
    layer = Encoded("entropy", (2,), "float32", b"\0")
    broken = replace(sample, layers={name: layer}, codecs={name: EntropyCodec(1.0)}, tied={})
    assert opened(written(mutants.valid(broken))) is None
    file = mutants.valid(sample)
    for key, value in (
        ("codecs", [{"codec": name}]),
        ("codecs", [{"codec": "entropy", name: 1}]),
        ("tied", {"t": name}),
    ):
        assert opened(written(replace(file, document=file.document | {key: value}))) is None


def test_a_wrong_checksum_names_the_stream(sample: Artifact) -> None:
    data = pack(sample)
    for name, stream in load(data).items():
        mutant = data.replace(stream.tobytes(), stream.tobytes()[:-1] + b"\x7f")
        with pytest.raises(ArtifactError, match=f"its stream '{name}' was altered"):
            unpack(mutant)
