"""Files that were written once: every later version reads the very same tensors from them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ravn.artifact import pack, read, unpack

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.ravn"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_read_bit_by_bit(path: Path) -> None:
    state = read(path).state_dict()
    expected = load_file(path.with_suffix(".safetensors"))
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert state[name].shape == tensor.shape
        assert torch.equal(state[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_small_and_can_be_written_again(path: Path) -> None:
    artifact = read(path)
    assert path.stat().st_size < 3000
    again = unpack(pack(artifact))
    assert (again.layers, again.codecs, again.tied) == (artifact.layers, artifact.codecs, artifact.tied)


def test_the_network_holds_more_than_codes() -> None:
    artifact = read(FOLDER / "network.ravn")
    assert (artifact.model, artifact.allocator) == ("test:net", "ppo")
    assert artifact.preprocessing == {"mean": [0.5, 0.25], "size": [8, 8], "classes": ["cat", "dög"]}
    assert artifact.tied == {"tail.weight": "embed.weight", "tail.bias": "head.bias"}
    assert [codec.name for codec in artifact.codecs.values()] == ["uniform", "cluster", "codebook", "entropy"]
    state = artifact.state_dict()
    assert state["tail.weight"] is state["embed.weight"]
    assert torch.equal(state["norm.running_var"], torch.full((8,), 0.99999))
    assert state["norm.num_batches_tracked"] == 0
    assert torch.equal(state["positions"], torch.arange(6).reshape(2, 3))


def test_all_kinds_of_codes_are_kept() -> None:
    assert {path.stem for path in FILES} >= {
        "cluster",
        "codebook",
        "entropy",
        "mirrored",
        "scaled",
        "trellis",
        "uniform",
    }
