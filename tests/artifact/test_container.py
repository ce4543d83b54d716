"""Laws of the container: round trip, determinism, bytes, and its parts one by one."""

import struct
import zlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load
from torch import Tensor

from ravn.artifact import Artifact, least_bytes, pack, size_bytes, unpack
from ravn.artifact.schema import to_document
from ravn.codecs import EntropyCodec
from ravn.errors import ArtifactError, InputError

NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["a.weight", "a.bias", ".", "a..b", "ü.weight", "\n", '"', "\ud800", "层.0", "[[[["]
)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def artifacts(draw: st.DrawFn) -> Artifact:
    """Random artifacts: any names, empty and scalar layers, tied names, any JSON."""
    names = draw(st.lists(NAMES, unique=True, max_size=7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    layers, codecs, tensors, tied = {}, {}, {}, {}
    for name in names:
        kind = draw(st.sampled_from(["layer", "tensor", "tied"]))
        values = torch.randn(draw(SHAPES), generator=generator).to(draw(DTYPES))
        first = draw(st.sampled_from([*layers, *tensors])) if layers or tensors else None
        if kind == "tied" and first is not None:
            tied[name] = first
        elif kind == "layer":
            codecs[name] = EntropyCodec(draw(st.floats(0.01, 2)))
            layers[name] = codecs[name].encode(values)
        else:
            tensors[name] = values
    preprocessing = draw(st.dictionaries(st.text(), JSON_VALUES, max_size=3))
    model, allocator = draw(st.text()), draw(st.text())
    return Artifact(model, preprocessing, layers, codecs, tensors, tied, allocator)


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 0


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert tensor.shape == second[name].shape
        assert torch.equal(tensor, second[name])


@given(artifacts())
@settings(deadline=None, derandomize=True, max_examples=60)
def test_round_trip(artifact: Artifact) -> None:
    data = pack(artifact)
    back = unpack(data)
    assert (back.model, back.allocator) == (artifact.model, artifact.allocator)
    assert back.preprocessing == artifact.preprocessing
    assert back.layers == artifact.layers
    assert list(back.layers) == list(artifact.layers)
    assert list(back.tensors) == list(artifact.tensors)
    assert (back.codecs, back.tied) == (artifact.codecs, artifact.tied)
    assert back.shapes() == artifact.shapes()
    for name, tensor in artifact.tensors.items():
        torch.testing.assert_close(back.tensors[name], tensor, rtol=2**-11, atol=2**-20 * 8)
    assert pack(artifact) == data
    assert_same(unpack(pack(back)).state_dict(), back.state_dict())


def test_a_file_is_a_safetensors_file_of_three_streams(sample: Artifact) -> None:
    streams = load(pack(sample))
    assert set(streams) == {"codes", "spec", "tensors"}


def test_stored_bytes_are_written_bytes(sample: Artifact, resnet20: Artifact) -> None:
    for artifact in (sample, resnet20):
        streams = load(pack(artifact))
        assert sum(e.size_bytes for e in artifact.layers.values()) == streams["codes"].size
        assert b"".join(e.payload for e in artifact.layers.values()) == streams["codes"].tobytes()


def test_empty_streams_take_no_bytes() -> None:
    data = pack(Artifact("", {}, {}, {}))
    assert set(load(data)) == {"spec"}
    assert len(data) < 120
    assert unpack(data).state_dict() == {}


def test_overhead_of_a_resnet20(resnet20: Artifact) -> None:
    payload = sum(encoded.size_bytes for encoded in resnet20.layers.values())
    assert len(pack(resnet20)) - payload <= 3600


def test_insertion_order_of_preprocessing_is_kept(sample: Artifact) -> None:
    back = unpack(pack(sample))
    assert list(back.preprocessing) == ["mean", "classes"]


def test_equal_codecs_are_written_once(resnet20: Artifact) -> None:
    one = EntropyCodec(0.125)
    artifact = replace(resnet20, codecs=dict.fromkeys(resnet20.codecs, one))
    assert to_document(artifact)[0]["codecs"] == [{"codec": "entropy", "step": 0.125}]


def test_a_step_is_written_in_as_few_digits_as_rebuild_it() -> None:
    codec = EntropyCodec(0.1)
    artifact = Artifact("", {}, {"w": codec.encode(torch.ones(2, 2))}, {"w": codec})
    assert to_document(artifact)[0]["codecs"][0]["step"] == 0.1
    assert unpack(pack(artifact)).codecs["w"] == codec


def test_a_newer_version_is_refused_with_a_sentence(sample: Artifact) -> None:
    data = bytearray(pack(sample))
    at = data.index(struct.pack("<I", zlib.crc32(load(bytes(data))["codes"].tobytes()))) - 5
    assert data[at] == 1
    data[at] = 2
    with pytest.raises(ArtifactError, match=r"^m\.ravn can't be opened: it has format 2.*update"):
        unpack(bytes(data), source="m.ravn")


@pytest.mark.parametrize(
    "preprocessing",
    [{"mean": float("nan")}, {"mean": torch.ones(1)}, {1: 0, "1": 0}, {"deep": nested(40)}],
)
def test_preprocessing_must_be_plain_json(sample: Artifact, preprocessing: dict[str, object]) -> None:
    with pytest.raises(InputError):
        pack(replace(sample, preprocessing=preprocessing))


def test_what_can_not_be_read_back_is_not_written() -> None:
    wide = Artifact("", {}, {}, {}, {"zeros": torch.zeros(()).expand(1 << 12, 1 << 12)})
    with pytest.raises(InputError, match="too large"):
        pack(wide)
    assert size_bytes(wide) < least_bytes(wide)


def test_sizes_are_known_without_a_file(sample: Artifact, resnet20: Artifact) -> None:
    for artifact in (sample, resnet20):
        assert size_bytes(artifact) == len(pack(artifact)) >= least_bytes(artifact)


def test_the_least_size_is_the_smallest_that_is_written() -> None:
    refused = 0
    for count in range((1 << 18) + 64 * 150, (1 << 18) + 64 * 250, 16 * 64):
        artifact = Artifact("", {}, {}, {}, {"zeros": torch.zeros(count)})
        if size_bytes(artifact) >= least_bytes(artifact):
            pack(artifact)
            continue
        refused += 1
        with pytest.raises(InputError, match="too large"):
            pack(artifact)
    assert 0 < refused < 7
