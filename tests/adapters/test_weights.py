"""Weights from files: what is customary is understood, what doesn't fit is named, nothing is executed."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ravn.adapters.weights import fill_weights, load_weights, weights_bytes
from ravn.errors import InputError


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


STATE = network().state_dict()


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_of_training_scripts_are_understood(nest: str | None, prefix: str, tmp_path: Path) -> None:
    state = {prefix + k: v for k, v in STATE.items()}
    torch.save({nest: state, "epoch": 7} if nest else state, tmp_path / "w.pth")
    assert same(load_weights(tmp_path / "w.pth"), STATE)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights_bytes(network()))
    filled = network()
    fill_weights(filled, load_weights(tmp_path / "w.safetensors"), "w")
    assert filled.state_dict().keys() == STATE.keys()


def test_tied_and_strided_weights_come_back_and_stay_tied(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Linear(4, 4), nn.Linear(4, 4))
        model[2].weight = model[1].weight
        return model.to(memory_format=torch.channels_last)

    model, other = tied(), tied()
    (tmp_path / "w.safetensors").write_bytes(weights_bytes(model))
    read = load_weights(tmp_path / "w.safetensors")
    fill_weights(other, read, "it")
    assert other[2].weight is other[1].weight
    assert read.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_half_precision_weights_fill_a_float32_network(tmp_path: Path) -> None:
    save_file({k: v.half() for k, v in STATE.items() if v.is_floating_point()}, tmp_path / "w.safetensors")
    filled = network()
    fill_weights(filled, load_weights(tmp_path / "w.safetensors"), "w")
    assert filled[0].weight.dtype == torch.float32
    assert torch.equal(filled[0].weight, STATE["0.weight"].half().float())


def test_a_pickle_with_code_in_it_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (mark,)

    (tmp_path / "w.pt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    torch.save({"w": Bomb()}, tmp_path / "v.pt")
    for name in ("w.pt", "v.pt"):
        with pytest.raises(InputError, match="for safety"):
            load_weights(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("data", [b"", b"{}", b"root:x:0:0:root\n", bytes(100), b"PK\x03\x04", b"\x80\x02q"])
def test_files_that_hold_no_weights_get_one_sentence(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=name):
        load_weights(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pt"):
        load_weights(tmp_path / "absent.pt")


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="no state dict"):
        load_weights(tmp_path / "w.pt")


def test_the_first_keys_that_differ_are_named_and_nothing_is_copied() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wrong = {("x." + k if k == "2.bias" else k): v + 1 for k, v in STATE.items()}
    with pytest.raises(InputError, match=r"w\.pt doesn't fit the network: it lacks 2\.bias and adds x\.2\.bias"):
        fill_weights(model, wrong, "w.pt")
    wrong = dict(STATE) | {"2.weight": torch.zeros(5, 4)}
    with pytest.raises(InputError, match=r"2\.weight has shape \(5, 4\) there and \(3, 4\)"):
        fill_weights(model, wrong, "w.pt")
    assert same(model.state_dict(), before)


def test_counters_of_batch_norms_may_be_missing() -> None:
    model = network()
    fill_weights(model, {k: v for k, v in STATE.items() if "num_batches" not in k}, "w")
    assert torch.equal(model[0].weight, STATE["0.weight"])


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (lambda tensor: tensor.to(torch.complex64), "is of torch.complex64 there; float weights are needed"),
        (lambda tensor: (100 * tensor).to(torch.int8), "is of torch.int8 there; float weights are needed"),
        (lambda tensor: tensor > 0, "is of torch.bool there; float weights are needed"),
        (lambda tensor: tensor.to_sparse(), "it lacks 0.weight"),
        (lambda tensor: tensor.to("meta"), "it lacks 0.weight"),
        (lambda tensor: tensor.tolist(), "it lacks 0.weight"),
    ],
)
def test_weights_that_are_no_plain_floats_are_refused(odd, said: str, tmp_path: Path) -> None:
    torch.save(STATE | {"0.weight": odd(STATE["0.weight"])}, tmp_path / "w.pt")
    filled = network()
    before = {name: tensor.clone() for name, tensor in filled.state_dict().items()}
    with pytest.raises(InputError, match=f"w doesn't fit the network: .*{said}"):
        fill_weights(filled, load_weights(tmp_path / "w.pt"), "w")
    assert same(filled.state_dict(), before)


def test_what_a_checkpoint_holds_beside_names_is_left_out(tmp_path: Path) -> None:
    torch.save({**STATE, 7: torch.ones(2), ("a", 1): torch.ones(3)}, tmp_path / "w.pt")
    assert same(load_weights(tmp_path / "w.pt"), STATE)
