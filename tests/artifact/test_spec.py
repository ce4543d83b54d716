"""The artifact as a value: what contradicts itself is refused, and state dicts are whole."""

from dataclasses import replace

import pytest
import torch

from ravn.artifact import Artifact
from ravn.codecs import Encoded, EntropyCodec
from ravn.errors import ArtifactError, InputError


def test_state_dict_holds_everything(sample: Artifact) -> None:
    state = sample.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == sample.shapes()
    assert state["tail.weight"] is state["head.weight"]
    expected = sample.codecs["conv.weight"].decode(sample.layers["conv.weight"])
    assert torch.equal(state["conv.weight"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensors": {"conv.weight": torch.ones(1)}}, "'conv.weight' twice"),
        ({"tied": {"conv.weight": "head.weight"}}, "'conv.weight' twice"),
        ({"tied": {"bn.weight": "head.weight"}}, "'bn.weight' twice"),
        ({"tied": {"x": "nowhere"}}, "'x' is tied to 'nowhere'"),
        ({"tied": {"x": "y", "y": "x"}}, "tied to"),
        ({"codecs": {"conv.weight": EntropyCodec(1.0)}}, "'head.weight' has only one"),
    ],
)
def test_contradictions_are_refused(sample: Artifact, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(sample, **change)  # type: ignore[arg-type]


def test_a_codec_must_be_the_one_that_wrote() -> None:
    with pytest.raises(InputError, match="'w' was written by the codec 'other'"):
        Artifact("", {}, {"w": Encoded("other", (1,), "float32", b"")}, {"w": EntropyCodec(1.0)})


def test_a_broken_payload_names_file_and_layer(sample: Artifact) -> None:
    broken = Encoded("entropy", (5, 4), "float32", b"\0")
    artifact = replace(sample, layers={**sample.layers, "head.weight": broken}, source="m.ravn")
    with pytest.raises(ArtifactError, match=r"^m\.ravn is broken: layer 'head\.weight': "):
        artifact.state_dict()


def test_infinite_weights_are_refused() -> None:
    codec = EntropyCodec(3e38)
    encoded = replace(codec.encode(torch.tensor([[3e38]])), dtype="float16")
    with pytest.raises(ArtifactError, match="'w' holds NaN or infinite"):
        Artifact("", {}, {"w": encoded}, {"w": codec}).state_dict()
