"""Names become networks; files from strangers may only name harmless ones."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ravn.adapters import build_model, rebuild_model
from ravn.errors import InputError, MissingPackageError


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_cifar_resnets_have_the_published_number_of_parameters(depth: int, parameters: int) -> None:
    model = build_model(f"cifar:resnet{depth}", 10)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_cifar_resnet_has_the_customary_key_names_and_halves_its_maps_twice() -> None:
    model = build_model("cifar:resnet20", 100).eval()
    names = model.state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.bias"} <= names
    shapes = []
    model.get_submodule("layer3").register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert shapes == [(2, 64, 8, 8)]


def test_option_a_shortcuts_subsample_and_pad_channels() -> None:
    block = build_model("cifar:resnet20", 10).get_submodule("layer2.0").eval()
    for norm in (block.bn1, block.bn2):
        nn.init.zeros_(norm.weight)
    x = torch.rand(1, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize(
    "name", ["", "resnet20", "cifar:", "cifar:resnet21", "cifar:vgg", "digits:resnet20", "keras:x", "cifar:resnet20 "]
)
def test_unknown_networks_are_refused_with_what_would_be_right(name: str) -> None:
    with pytest.raises(InputError, match="resnet") as caught:
        build_model(name)
    assert repr(name) in str(caught.value)


def test_a_factory_is_found_in_the_current_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_nets.py").write_text("from torch import nn\nimport os\n\ndef tiny():\n    return nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert isinstance(build_model("python:my_nets:tiny"), nn.Linear)
    assert sys.path == path
    with pytest.raises(InputError, match="getcwd"):
        build_model("python:my_nets:getcwd")
    with pytest.raises(InputError, match=r"not a torch\.nn\.Module"):
        build_model("python:os:getcwd")
    with pytest.raises(InputError, match="no_such_module"):
        build_model("python:no_such_module:f")


@pytest.mark.parametrize(
    "name", ["python:os:getcwd", "hf:someone/net", "timm:hf-hub:someone/net", "timm:../x", "", "cifar:resnet20\n"]
)
def test_a_file_can_not_make_foreign_code_run_or_start_a_download(name: str) -> None:
    with pytest.raises(InputError, match="pass the module"):
        rebuild_model(name, 10)


@pytest.mark.parametrize("classes", [0, -1, 2.0, "10", True, [10], 1 << 40])
def test_a_file_can_not_ask_for_absurd_outputs(classes: object) -> None:
    with pytest.raises(InputError, match="classes"):
        rebuild_model("cifar:resnet20", classes)


@pytest.mark.parametrize(("name", "extra"), [("timm:resnet18", "timm"), ("hf:some/net", "hf")])
def test_a_missing_package_names_the_command_that_installs_it(name: str, extra: str, monkeypatch) -> None:
    for package in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'ravn\[{extra}\]'"):
        build_model(name)


def test_building_a_cifar_network_loads_no_optional_package() -> None:
    program = (
        "import sys; from ravn.adapters import build_model; build_model('cifar:resnet20');"
        "print([m for m in ('timm', 'transformers', 'PIL', 'pyarrow', 'datasets', 'sklearn') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
