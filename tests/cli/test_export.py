"""`ravn export`: files that say what the network says, or none at all."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ravn as library
from ravn.adapters import build_model, load_data
from ravn.artifact import Artifact, pack
from ravn.cli import export as command
from ravn.codecs import EntropyCodec
from ravn.exporters.programs import program_from
from ravn.exporters.sessions import session
from ravn.layers import weight_layers

Ravn = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_model("digits:resnet8")
    codec = EntropyCodec(0.02)
    layers = {layer.name: codec.encode(model.get_parameter(layer.name)) for layer in weight_layers(model)}
    rest = {name: tensor for name, tensor in model.state_dict().items() if name not in layers}
    brought = load_data("digits").preprocessing
    path = tmp_path_factory.mktemp("export") / "model.ravn"
    path.write_bytes(pack(Artifact("digits:resnet8", brought, layers, dict.fromkeys(layers, codec), rest)))
    return path


def test_all_formats_in_one_call(file: Path, tmp_path: Path, ravn: Ravn) -> None:
    paths = {option: tmp_path / f"model.{option}" for option in ("onnx", "pt2", "pt")}
    words = [word for option, path in paths.items() for word in (f"--{option}", path)]
    code, out, err = ravn("export", file, *words, "--data", "digits")
    assert code == 0, err
    model, images = library.load(file), torch.rand(5, *load_data("digits").test[0][0].shape)
    wanted = model(images)
    for run in (session(paths["onnx"].read_bytes()), program_from(paths["pt2"].read_bytes())):
        assert torch.allclose(run(images)[0], wanted, atol=1e-4)
    state = torch.load(paths["pt"], weights_only=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    size = paths["onnx"].stat().st_size
    assert f"{size:,} bytes; outputs within" in out
    assert f"takes {file.stat().st_size:,} bytes in all" in out
    assert size < 0.3 * paths["pt"].stat().st_size


def test_a_file_that_says_something_else_is_not_kept(file: Path, tmp_path: Path, ravn: Ravn, monkeypatch) -> None:
    def broken(data: bytes) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
        run = session(data)
        return lambda inputs: tuple(output + 1 for output in run(inputs))

    monkeypatch.setattr(command, "session", broken)
    code, _, err = ravn("export", file, "--onnx", tmp_path / "out.onnx")
    assert code == 2
    assert "the exported network's outputs differ by" in err
    assert list(tmp_path.iterdir()) == []
    assert ravn("export", file, "--onnx", tmp_path / "out.onnx", "--no-verify")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "say what to export: --onnx, --coreml, --pt2, --pt, each with the file to write"),
        (("--onnx", "/no/such/folder/out.onnx"), "is no folder that takes files"),
        (("--onnx", "."), "--onnx . is a folder; give the file to write"),
        (("--coreml", "{out}"), "give a new name that ends in .mlpackage"),
        (("--coreml", "{out}.mlpackage", "--precision", "int8"), "--precision int8 is impossible; give float16 or"),
        (("--onnx", "{out}", "--opset", "11"), "--opset 11 is not supported"),
        (("--onnx", "{out}", "--input", "3by4"), "--input '3by4' is not understood"),
        (("--onnx", "{out}", "--input", "1x0x8"), "--input '1x0x8' is not understood"),
        (("--onnx", "{out}", "--input", "3x8x8"), "can't be exported"),
        (("--onnx", "{out}", "--data", "mnist"), "there is no data 'mnist'"),
        (("--onnx", "{out}", "--model", "cifar:resnet20"), "has shape (16, 3, 3, 3) in the network"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence: str, file: Path, tmp_path: Path, ravn: Ravn) -> None:
    filled = [word.format(out=tmp_path / "out.onnx") for word in words]
    code, out, err = ravn("export", file, *filled)
    assert code == 2
    assert not out
    assert sentence in err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_names_its_extra(package: str, file: Path, tmp_path: Path, ravn: Ravn, monkeypatch) -> None:
    for name in [n for n in sys.modules if n.startswith("ravn.exporters.onnx_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = ravn("export", file, "--onnx", tmp_path / "out.onnx")
    assert code == 2
    assert f"the package {package!r} is not installed; install it with: pip install 'ravn[onnx]'" in err
    assert list(tmp_path.iterdir()) == []


def test_core_ml_without_its_package_names_the_extra(file: Path, tmp_path: Path, ravn: Ravn, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "ravn.exporters.coreml", raising=False)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    code, _, err = ravn("export", file, "--coreml", tmp_path / "out.mlpackage")
    assert code == 2
    assert "the package 'coremltools' is not installed; install it with: pip install 'ravn[coreml]'" in err
    assert list(tmp_path.iterdir()) == []


def test_a_core_ml_package_is_a_folder_that_is_replaced_whole(file: Path, tmp_path: Path, ravn: Ravn) -> None:
    pytest.importorskip("coremltools", reason="coremltools, of the extra coreml, is not installed")
    out = tmp_path / "out.mlpackage"
    for _ in range(2):
        code, said, err = ravn("export", file, "--coreml", out)
        assert code == 0, err
        files = [path for path in out.rglob("*") if path.is_file()]
        assert f"out.mlpackage: {sum(path.stat().st_size for path in files):,} bytes; not run" in said
        assert "layers are indices of" in said
        (out / "stale").touch()
        assert [path.name for path in tmp_path.iterdir()] == ["out.mlpackage"]
    (out / "stale").unlink()
    assert len(files) == 3
    other = tmp_path / "photos.mlpackage"
    other.mkdir()
    code, _, err = ravn("export", file, "--coreml", other)
    assert code == 2
    assert "can't be written; give a new name" in err


def test_8_bit_activations_keep_the_accuracy_and_the_packing(file: Path, tmp_path: Path, ravn: Ravn) -> None:
    out = tmp_path / "int8.onnx"
    code, said, err = ravn("export", file, "--onnx", out, "--activations", "int8", "--data", "digits", "--no-verify")
    assert code == 0, err
    assert "not verified" in said
    model, images = library.load(file), load_data("digits")
    inputs = images.transform(torch.stack([images.test[i][0] for i in range(64)]))
    wanted, found = model(inputs).detach(), session(out.read_bytes())(inputs)[0]
    assert float((found - wanted).norm() / wanted.norm()) < 0.1
    assert out.stat().st_size < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("words", [("--activations", "int4"), ("--activations", "int8")])
def test_impossible_activations_are_refused(words: tuple[str, ...], file: Path, tmp_path: Path, ravn: Ravn) -> None:
    code, _, err = ravn("export", file, "--onnx", tmp_path / "out.onnx", *words)
    assert code == 2
    assert "is impossible; give float, or int8 with --onnx and --data" in err


def test_measure_compares_all_runtimes_in_one_run(file: Path, ravn: Ravn) -> None:
    code, out, err = ravn("measure", file, "--repeats", "2", "--batch", "3", "--json")
    assert code == 0, err
    found = json.loads(out)
    rows = {row["runtime"]: row for row in found["rows"]}
    assert list(rows) == [
        "PyTorch, float",
        "PyTorch, packed",
        "onnxruntime, float",
        "onnxruntime, packed",
        "onnxruntime, packed, int8",
    ]
    assert not found["missing"]
    assert all(row["batch_size"] == 3 and row["latency_seconds"] > 0 for row in rows.values())
    assert rows["PyTorch, packed"]["weight_bytes"] < 0.35 * rows["PyTorch, float"]["weight_bytes"]
    assert rows["onnxruntime, packed"]["file_bytes"] < 0.4 * rows["onnxruntime, float"]["file_bytes"]


def test_measure_does_without_onnx_and_says_so(file: Path, ravn: Ravn, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, _ = ravn("measure", file, "--repeats", "1")
    assert code == 0
    assert "PyTorch, packed" in out
    assert "not measured in onnxruntime: the package 'onnxruntime' is not installed" in out
