"""`ravn train`: weights that `ravn compress` takes; whatever a user gets wrong is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ravn.adapters import make_task
from ravn.adapters.weights import load_weights
from ravn.metrics import top1_accuracy

TRAIN = ("train", "--model", "digits:resnet8", "--data", "digits", "--epochs", "1", "--learning-rate", "0.05")


def test_the_weights_have_the_accuracy_that_is_told(ravn, tmp_path: Path) -> None:
    out = tmp_path / "new" / "float.safetensors"
    code, said, err = ravn(*TRAIN, "--out", out)
    assert code == 0, err
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    task = make_task("digits:resnet8", "digits", weights=out)
    assert f"{top1_accuracy(task.model, task.test, task.transform):.2f} %" in said
    assert ravn(*TRAIN, "--out", out)[0] == 2


def test_an_interrupted_training_goes_on_only_when_asked_to(ravn, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "float.safetensors"
    whole = tmp_path / "whole.safetensors"
    two = [*TRAIN, "--epochs", "2"]
    assert ravn(*two, "--out", whole)[0] == 0

    def interrupt(_, sentence: str) -> None:
        if sentence.startswith("epoch 1"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ravn.cli.progress.Bars.stage", interrupt)
        code, _, err = ravn(*two, "--out", out)
    assert code == 130
    assert "--resume" in err
    assert ravn(*two, "--out", out)[0] == 2
    assert ravn(*two, "--out", out, "--seed", "1", "--resume")[0] == 2
    assert ravn(*two, "--out", out, "--resume")[0] == 0
    assert out.read_bytes() == whole.read_bytes()


def test_two_processes_train_what_one_does(ravn, tmp_path: Path) -> None:
    together, alone = tmp_path / "together.safetensors", tmp_path / "alone.safetensors"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ravn"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [*launcher, *TRAIN, "--out", str(together)]
    told = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert ravn(*TRAIN, "--out", alone)[0] == 0
    assert told.stdout.count("% of 700 test images") == 1
    assert {path.name for path in tmp_path.iterdir()} == {together.name, alone.name}
    first, second = load_weights(together), load_weights(alone)
    for name, weight in second.items():
        # bfloat16 and the edges of rectifiers: neither adds up alike in two halves.
        error = torch.linalg.norm((first[name] - weight).float())
        assert error <= 0.15 * torch.linalg.norm(weight.float()) + 1e-3, name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("--out", "float.pt"), "--out float.pt has to end in .safetensors"),
        (("--model", "digits:resnet9"), "there is no network 'digits:resnet9'"),
        (("--data", "mnist"), "there is no data 'mnist'"),
        (("--epochs", "0"), "got '0'"),
        (("--learning-rate", "-1"), "got '-1'"),
        (("--resume",), "to go on with; leave --resume out to begin"),
    ],
)
def test_a_bad_option_is_one_sentence(changes: tuple[str, ...], sentence: str, ravn, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = ravn(*TRAIN, "--out", "float.safetensors", *changes)
    assert code == 2
    assert sentence in err.strip().splitlines()[-1]
    assert not out
    assert not list(tmp_path.iterdir())
