"""Whatever a user gets wrong: one sentence, exit code 2, nothing half-written."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ravn import Result

GOOD = {"--model": "digits:resnet8", "--data": "digits", "--bits": "2.0", "--epochs": "0", "--evaluations": "2"}


def words(changes: dict[str, object], out: Path, weights: Path) -> list[object]:
    options: dict[str, object] = {**GOOD, "--weights": weights, "--out": out, **changes}
    return ["compress", *(word for pair in options.items() if pair[1] is not None for word in pair)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--model": "digits:resnet9"}, "there is no network 'digits:resnet9'"),
        ({"--model": "resnet20"}, "there is no network 'resnet20'"),
        ({"--model": "cifar:resnet20"}, "doesn't fit the network"),
        ({"--data": "mnist"}, "there is no data 'mnist'"),
        ({"--data": "cifar10:/no/such/folder"}, "there is no folder '/no/such/folder'"),
        ({"--weights": "/no/such/file.pt"}, "there is no weights file '/no/such/file.pt'"),
        ({"--weights": None}, "has no weights of its own; give --weights FILE"),
        ({"--allocator": "oracle"}, "there is no allocator 'oracle'"),
        ({"--arm": "rl"}, "there is no arm 'rl' of the ablation; there are vq, aq, rl+aq, full"),
        ({"--arm": "aq", "--allocator": "local"}, "--arm aq brings what decides with it; leave --allocator local out"),
        ({"--policy": "/no/such/file"}, "there is no policy '/no/such/file'; give the policy.safetensors of a run"),
        ({"--policy": __file__}, "test_bad_input.py is not a policy that ravn wrote"),
        ({"--policy": __file__, "--allocator": "local"}, "is for PPO, and local decides here; leave one of them out"),
        ({"--policy": __file__, "--arm": "vq"}, "is for PPO, and codebooks decides here"),
        ({"--policy": __file__, "--preset": "paper"}, "decides steps of layers; leave --preset paper out"),
        ({"--preset": "best"}, "there is no preset 'best'"),
        ({"--normalize": "mnist"}, "--normalize 'mnist' is not understood"),
        ({"--normalize": "0.5,0.5,0.5/0.2,0.2,0.2"}, "3 channels doesn't fit digits"),
        ({"--device": "tpu"}, "there is no device 'tpu' here"),
        ({"--workers": "0"}, "--workers '0' is neither a number of workers nor the address of a Ray cluster"),
        ({"--workers": "localhost"}, "give a number from 1 to 1024, or auto, HOST:PORT or ray://HOST:PORT"),
        ({"--teacher": "digits:resnet8"}, "--teacher digits:resnet8 has no weights of its own; give --teacher digits"),
        ({"--teacher": "digits:resnet8=a,cifar:resnet8"}, "--teacher cifar:resnet8 has no weights of its own"),
        ({"--teacher": "digits:resnet8=/no/such/file,"}, "=/no/such/file,' names no teacher; give NAME[=FILE], or"),
        ({"--teacher": "digits:resnet8=/no/such/file.pt"}, "there is no weights file '/no/such/file.pt'"),
        ({"--unlabeled": "digits"}, "the unlabeled images of digits are for training, and no epochs of it were asked"),
        (
            {"--unlabeled": "digits", "--preset": "paper", "--epochs": "1"},
            "digits have no labels, and this recipe weighs",
        ),
        ({"--unlabeled": "cifar10:/no/such/folder"}, "--unlabeled cifar10:/no/such/folder: there is no folder"),
        ({"--unlabeled": "digit"}, "there is no data 'digit'"),
        ({"--bits": None}, "give exactly one of --bits, --bytes and --ratio; got none"),
        ({"--bytes": "9000"}, "got --bits and --bytes"),
        ({"--bits": "0"}, "bits_per_weight = 0.0 is impossible"),
        ({"--bits": "-1"}, "bits_per_weight = -1.0 is impossible"),
        ({"--bits": "nan"}, "is impossible; give a positive number"),
        ({"--bits": "two"}, "--bits 'two' is no budget; give a number, or several separated by commas"),
        ({"--bits": "2.0,"}, "--bits '2.0,' is no budget"),
        ({"--bits": "2.0,0.01"}, "give at least"),
        ({"--bits": "2.0,-1"}, "bits_per_weight = -1.0 is impossible"),
        ({"--bits": None, "--bytes": "1e4"}, "--bytes '1e4' is no budget; give a whole number"),
        ({"--bits": "1e-300"}, "give at least"),
        ({"--epochs": "-1"}, "got '-1'"),
        ({"--seed": "-3"}, "got '-3'"),
        ({"--seed": "9" * 24}, "less than or equal to 4294967295"),
        ({"--normalize": "nan/1"}, "--normalize 'nan/1' is not understood"),
        ({"--normalize": ""}, "--normalize '' is not understood"),
        ({"--device": "cpu:first"}, "there is no device 'cpu:first' here"),
        ({"--weights": "/"}, "there is no weights file '/'"),
        ({"--bits": "0.01"}, "give at least"),
        ({"--frobnicate": "1"}, "No such option"),
    ],
)
def test_a_bad_option_is_one_sentence(changes: dict[str, object], sentence: str, weights, tmp_path, ravn) -> None:
    code, out, err = ravn(*words(changes, tmp_path / "r", weights))
    assert code == 2
    lines = err.strip().splitlines()
    assert lines[-1].startswith("ravn: ")
    assert sentence in lines[-1]
    assert "Traceback" not in err
    assert not out
    assert not (tmp_path / "r").exists()


def test_a_budget_below_the_smallest_file_names_one_that_works(weights, tmp_path, ravn) -> None:
    def attempt(size: int, out: Path) -> tuple[int, str]:
        changes = {"--bits": None, "--bytes": size, "--allocator": "knapsack"}
        code, _, err = ravn(*words(changes, out, weights))
        return code, err

    code, err = attempt(500, tmp_path / "a")
    assert code == 2
    smallest = int(err.split("give at least ")[1].split(" ")[0].replace(",", ""))
    code, err = attempt(smallest, tmp_path / "b")
    assert code == 0, err
    assert (tmp_path / "b" / "model.ravn").stat().st_size <= smallest


@pytest.mark.parametrize("budget", [("--bits", "1e308"), ("--bytes", "9" * 30), ("--ratio", "5e-324")])
def test_a_budget_beyond_all_need_is_met_and_reported(budget: tuple[str, str], weights, tmp_path, ravn) -> None:
    changes = {"--bits": None, budget[0]: budget[1], "--allocator": "uniform"}
    code, _, err = ravn(*words(changes, tmp_path / "r", weights))
    assert code == 0, err
    result = Result.from_json((tmp_path / "r" / "result.json").read_text())
    assert result.file_bytes < result.float_bytes / 2 < result.budget_bytes
    assert abs(result.test_accuracy - result.float_test_accuracy) < 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_their_layer(value: float, weights, tmp_path, ravn) -> None:
    state = load_file(weights)
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    save_file(state, tmp_path / "bad.safetensors")
    code, _, err = ravn(*words({"--weights": tmp_path / "bad.safetensors"}, tmp_path / "r", weights))
    assert code == 2
    assert "layer 'layer2.0.conv1.weight' holds NaN or infinite weights" in err
    assert not (tmp_path / "r").exists()


def test_statistics_that_are_not_finite_name_their_layer(weights, tmp_path, ravn) -> None:
    state = load_file(weights)
    state["bn1.running_var"][3] = float("nan")
    save_file(state, tmp_path / "bad.safetensors")
    code, _, err = ravn(*words({"--weights": tmp_path / "bad.safetensors"}, tmp_path / "r", weights))
    assert code == 2
    assert "'bn1.running_var' holds NaN" in err


@pytest.mark.parametrize(
    ("name", "value", "layer"), [("bn1.running_var", -1.0, "bn1"), ("layer2.0.conv1.weight", 3e38, "layer2.0.conv1")]
)
def test_finite_weights_of_a_network_that_gives_nan_are_refused_at_once(
    name, value, layer, weights, tmp_path, ravn
) -> None:
    state = load_file(weights)
    state[name][:] = value
    save_file(state, tmp_path / "bad.safetensors")
    code, _, err = ravn(*words({"--weights": tmp_path / "bad.safetensors"}, tmp_path / "r", weights))
    assert code == 2
    assert err.strip().endswith(
        f"the network's outputs hold NaN or infinity, first in layer '{layer}'; only a network of finite outputs is"
        " compressed"
    )
    assert not (tmp_path / "r").exists()


def test_an_output_that_is_a_file_or_another_run_is_refused(weights, tmp_path, ravn) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = ravn(*words({"--out": tmp_path / "file"}, tmp_path, weights))
    assert code == 2
    assert "is a file; give a folder" in err
    assert (tmp_path / "file").read_text() == "mine"
    code, _, err = ravn(*words({}, tmp_path / "r", weights), "--resume")
    assert code == 2
    assert "holds no run to go on with" in err


@pytest.mark.parametrize("command", ["compress", "demo"])
def test_nothing_is_written_among_somebodys_files(command: str, weights, tmp_path, ravn) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    words_ = words({}, tmp_path, weights) if command == "compress" else ["demo", "--out", tmp_path]
    code, _, err = ravn(*words_)
    assert code == 2
    assert f"--out {tmp_path} holds files of something else; give a new or an empty folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["[1, 2]", "key: value", "{", ""])
def test_a_config_of_something_else_is_not_taken_for_a_run(text: str, weights, tmp_path, ravn) -> None:
    (tmp_path / "config.yaml").write_text(text)
    for extra in ((), ("--resume",)):
        code, _, err = ravn(*words({}, tmp_path, weights), *extra)
        assert code == 2
        assert "config.yaml is not that of a run" in err
    assert (tmp_path / "config.yaml").read_text() == text


@pytest.mark.parametrize(
    ("begun", "resumed", "sentence"),
    [
        ({}, {"--bits": None, "--bytes": "9000"}, "was begun with --bits 2.0, not without --bits"),
        ({"--normalize": "0.5/0.5"}, {}, "was begun with --normalize 0.5/0.5, not without --normalize"),
    ],
)
def test_a_run_resumes_with_its_own_options_alone(begun, resumed, sentence, weights, tmp_path, ravn) -> None:
    assert ravn(*words({"--allocator": "uniform", **begun}, tmp_path / "r", weights))[0] == 0
    code, _, err = ravn(*words({"--allocator": "uniform", **resumed}, tmp_path / "r", weights), "--resume")
    assert code == 2
    assert sentence in err


def test_images_that_a_file_can_not_take_are_refused(weights, tmp_path, ravn) -> None:
    assert ravn(*words({"--allocator": "uniform"}, tmp_path / "r", weights))[0] == 0
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pictures" / label / f"{number}.png")
    data = f"imagefolder:{tmp_path / 'pictures'}"
    code, _, err = ravn("evaluate", tmp_path / "r" / "model.ravn", "--data", data, "--normalize", "imagenet")
    assert code == 2
    assert f"can't take the 3x8x8 images of {data}" in err


def test_files_that_are_no_ravn_files_are_told_apart(weights: Path, tmp_path: Path, ravn) -> None:
    torch.save({}, tmp_path / "net.pt")
    (tmp_path / "text.ravn").write_text("hello")
    (tmp_path / "empty.ravn").touch()
    for path, kind in (
        (weights, "a safetensors file that ravn didn't write"),
        (tmp_path / "net.pt", "a pickle or zip archive"),
        (tmp_path / "text.ravn", "text"),
        (tmp_path / "empty.ravn", "empty"),
        (tmp_path / "absent.ravn", "there is no file"),
        (tmp_path, "is a folder"),
    ):
        for command in (("inspect", path), ("evaluate", path, "--data", "digits")):
            code, _, err = ravn(*command)
            assert code == 2
            assert kind in err
            assert str(path) in err


def test_a_report_of_a_folder_without_a_run_is_refused(tmp_path: Path, ravn) -> None:
    code, _, err = ravn("report", tmp_path)
    assert code == 2
    assert "holds no result.json" in err
