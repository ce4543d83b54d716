"""Laws that every codec obeys."""

import functools
import json
import math
import struct
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load
from torch import Tensor

from ravn.artifact import Artifact, pack
from ravn.codecs import (
    CODECS,
    ClusterCodec,
    CodebookCodec,
    Codec,
    Encoded,
    EntropyCodec,
    Grid,
    TrellisCodec,
    UniformCodec,
    VectorCodec,
    codec_from_config,
    decoded,
)
from ravn.errors import ArtifactError, InputError

GRIDDED = (
    ClusterCodec((3, 1, 4, 0)),
    ClusterCodec((0,)),
    ClusterCodec((8, 8, 8), strict=False),
    ClusterCodec((2, 5, 3), strict=True),
    ClusterCodec((2, 0, 3), price=0.1),
    ClusterCodec((2, 0, 3), entropy_coded=False),
    ClusterCodec((0,), entropy_coded=False),
    ClusterCodec((8, 8), entropy_coded=False),
    CodebookCodec(1),
    CodebookCodec(8),
    CodebookCodec(3, entropy_coded=False),
    EntropyCodec(0.1),
    EntropyCodec(3.0),
    EntropyCodec(0.3, spectral=True),
    UniformCodec(1),
    UniformCodec(8),
    UniformCodec(3, per_channel=False),
)
TRELLISES = (
    TrellisCodec(0.1),
    TrellisCodec(3.0, states=4),
    TrellisCodec(0.3, spectral=True),
)
VECTORS = (
    VectorCodec(2, 3),
    VectorCodec(8, 2),
    VectorCodec("channel", 2),
)
INSTANCES = GRIDDED + TRELLISES + VECTORS
STEPPED = (EntropyCodec, TrellisCodec)
every_codec = pytest.mark.parametrize("codec", INSTANCES, ids=str)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


WEIGHTS = {
    "0-d": torch.tensor(-0.7),
    "one element": torch.tensor([0.3]),
    "1-d": normal(37),
    "2-d": normal(7, 11),
    "3-d": normal(5, 4, 3),
    "4-d": normal(6, 2, 3, 3),
    "5-d": normal(2, 3, 2, 2, 2),
    "no rows": torch.zeros(0, 3),
    "no columns": torch.zeros(3, 0),
    "constant": torch.full((4, 5), -0.37),
    "zero": torch.zeros(4, 5),
    "a zero row": normal(4, 5) * torch.tensor([[1.0], [0.0], [1.0], [1.0]]),
    "huge outlier": torch.cat([normal(60), torch.tensor([900.0])]),
    "tiny": normal(5, 6) * 1e-30,
    "transposed": normal(6, 9).T,
    "strided": normal(8, 12)[::2, 1::3],
    "expanded": normal(1, 5).expand(4, 5),
}


def assert_lawful(codec: Codec, weight: Tensor) -> None:
    """What is decoded is, bit for bit, what the codec chose of its grid: the nearest levels or vectors, or a path."""
    back = codec.decode(codec.encode(weight))
    assert back.shape == weight.shape
    assert back.dtype == weight.dtype
    if not weight.numel():
        return
    analysed = codec.analysed(weight.float())
    matrix = analysed.reshape(len(weight) if weight.dim() else 1, -1)
    grid = codec.shaped_grid(analysed)
    values = grid.values(codec.quantize(matrix, grid))
    assert torch.equal(back, codec.synthesised(values.reshape(weight.shape)).to(weight.dtype))
    if isinstance(codec, TrellisCodec | VectorCodec):
        return
    least = (matrix[:, :, None] - grid.levels[:, None, :]).abs().amin(-1)
    assert torch.allclose((matrix - values).abs(), least, rtol=1e-5, atol=1e-6 * float(matrix.abs().max()))


@every_codec
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
def test_decoding_gives_the_nearest_levels(codec: Codec, weight: Tensor) -> None:
    assert_lawful(codec, weight)


@every_codec
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes_survive(codec: Codec, dtype: torch.dtype) -> None:
    assert_lawful(codec, normal(6, 7).to(dtype))


@pytest.mark.parametrize("codec", [c for c in INSTANCES if not isinstance(c, STEPPED)], ids=str)
@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e20, 1e38])
def test_the_whole_range_of_float32_can_be_stored(codec: Codec, scale: float) -> None:
    weight = normal(5, 9).clamp(-3, 3) * scale
    assert_lawful(codec, weight)
    error, power = (t.double().square().sum() for t in (codec.decode(codec.encode(weight)) - weight, weight))
    assert error <= power


@st.composite
def codecs(draw: st.DrawFn) -> Codec:
    kind = draw(st.sampled_from(sorted(CODECS)))
    if kind == "cluster":
        return ClusterCodec(tuple(draw(st.lists(st.integers(0, 8), min_size=1, max_size=6))))
    if kind == "entropy":
        return EntropyCodec(draw(st.floats(0.25, 1e4)), spectral=draw(st.booleans()))
    if kind == "trellis":
        return TrellisCodec(
            draw(st.floats(0.25, 1e4)), draw(st.sampled_from([4, 8, 16, 32])), spectral=draw(st.booleans())
        )
    if kind == "vector":
        return VectorCodec(draw(st.sampled_from([1, 2, 3, 8, "channel"])), draw(st.integers(1, 4)))
    return CODECS[kind](draw(st.integers(1, 8)), draw(st.booleans()))


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    values = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, -0.0, 1.0, 1e-40])
    size = math.prod(shape)
    return torch.tensor(draw(st.lists(values, min_size=size, max_size=size))).reshape(shape)


@given(codecs(), weights())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_any_weight_survives_any_codec(codec: Codec, weight: Tensor) -> None:
    assert_lawful(codec, weight)
    assert codec_from_config(json.loads(json.dumps(codec.config()))) == codec


@pytest.mark.parametrize("codec", GRIDDED + TRELLISES, ids=str)
def test_any_choice_of_codes_comes_back(codec: Codec) -> None:
    weight, chosen = normal(6, 30), {}

    def at_random(matrix: Tensor, grid: Grid) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(grid.levels.shape[1], matrix.shape, generator=generator)
        chosen["values"] = grid.values(codes)
        return codes

    assert torch.equal(codec.decode(codec.encode(weight, rounding=at_random)), chosen["values"])


@every_codec
def test_the_grid_ascends_and_is_priced(codec: Codec) -> None:
    grid = codec.grid(normal(6, 30))
    assert (grid.levels.diff(dim=1) >= 0).all()
    assert grid.lengths.shape[1:] == grid.levels.shape[1:]
    free = isinstance(codec, UniformCodec) or not getattr(codec, "entropy_coded", True)
    total = (2**-grid.lengths).sum(1)
    assert (grid.lengths == 0).all() if free else ((total > 0) & (total <= 1 + 1e-5)).all()


@every_codec
def test_configurations_survive_json(codec: Codec) -> None:
    again = codec_from_config(json.loads(json.dumps(codec.config())))
    assert again == codec
    assert hash(again) == hash(codec)
    assert again.encode(normal(5, 6)) == codec.encode(normal(5, 6))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"codec": "zip"},
        {"codec": ["entropy"]},
        {"codec": "entropy"},
        {"codec": "entropy", "step": "x"},
        {"codec": "entropy", "step": None},
        {"codec": "entropy", "step": 0.0},
        {"codec": "entropy", "step": -1.0},
        {"codec": "entropy", "step": math.nan},
        {"codec": "entropy", "step": math.inf},
        {"codec": "entropy", "step": 1e300},
        {"codec": "entropy", "step": 1e-300},
        {"codec": "entropy", "step": 1.0, "bits": 3},
        *({"codec": "trellis", "step": step} for step in ("x", None, 0.0, math.nan, 1e300)),
        *({"codec": "trellis", "step": 1.0, "states": states} for states in (0, 5, 64, "x", None, [8], 8.0)),
        *({"codec": codec, "bits": bits} for codec in ("uniform", "codebook") for bits in (0, 9, 2.5, "x", None)),
        *({"codec": "cluster", "bits": bits} for bits in ([], [9], [-1], [2.5], ["x"], 3, None, [1] * 65)),
        {"codec": "cluster", "bits": [2, 3, 2], "strict": True},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(InputError):
        codec_from_config(config)


@every_codec
def test_stored_bytes_are_the_bytes_of_the_file(codec: Codec) -> None:
    encoded = codec.encode(normal(6, 30))
    assert encoded.size_bytes == len(encoded.payload)
    data = pack(Artifact("", {}, {"w": encoded}, {"w": codec}))
    streams = load(data)
    assert streams["codes"].tobytes() == encoded.payload
    assert len(data) == 8 + struct.unpack_from("<Q", data)[0] + streams["spec"].size + encoded.size_bytes


@every_codec
def test_equal_weights_give_equal_bytes(codec: Codec) -> None:
    weight = normal(6, 20)
    assert codec.encode(weight) == codec.encode(weight.clone())
    assert codec.encode(weight) == codec.encode(weight.T.contiguous().T)
    assert codec.encode(weight).payload == codec.encode(weight.double()).payload


@every_codec
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_weights_that_are_not_finite_are_refused(codec: Codec, value: float) -> None:
    with pytest.raises(InputError, match="NaN"):
        codec.encode(torch.tensor([1.0, value], dtype=torch.float64))


@every_codec
def test_integer_weights_are_refused(codec: Codec) -> None:
    with pytest.raises(InputError, match="int64"):
        codec.encode(torch.arange(4))


@functools.cache
def small(codec: Codec) -> Encoded:
    return codec.encode(normal(3, 7))


def is_readable(encoded: Encoded) -> bool:
    """Whether a payload decodes; if it does, then to something of the right kind."""
    try:
        back = decoded(encoded)
    except ArtifactError:
        return False
    assert back.shape == encoded.shape
    assert torch.isfinite(back).all()
    return True


@every_codec
def test_a_truncated_payload_is_refused_or_stays_in_shape(codec: Codec) -> None:
    encoded = small(codec)
    read = [is_readable(replace(encoded, payload=encoded.payload[:n])) for n in range(len(encoded.payload) + 1)]
    assert read[-1]
    assert not any(read[:8])


@every_codec
def test_trailing_bytes_are_refused(codec: Codec) -> None:
    encoded = small(codec)
    for tail in (b"\0", b"\1", bytes(4), b"\1\2\3\4", b"\xff" * 4, b"\1" * 32):
        assert not is_readable(replace(encoded, payload=encoded.payload + tail))


@every_codec
def test_no_altered_bit_is_worse_than_an_artifact_error(codec: Codec) -> None:
    encoded = small(codec)
    for at in range(min(len(encoded.payload), 150)):
        for bit in range(8):
            payload = bytearray(encoded.payload)
            payload[at] ^= 1 << bit
            is_readable(replace(encoded, payload=bytes(payload)))


@given(st.sampled_from(INSTANCES), st.integers(0, 80), st.binary(max_size=120), st.integers(1, 5))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_no_random_bytes_are_worse_than_an_artifact_error(codec: Codec, kept: int, tail: bytes, rows: int) -> None:
    payload = small(codec).payload[:kept] + tail
    is_readable(Encoded(codec.name, (rows, 7), "float32", payload))


def test_unknown_codecs_are_refused() -> None:
    with pytest.raises(ArtifactError, match="'zip'"):
        decoded(Encoded("zip", (1,), "float32", b"\0"))
