"""A Core ML package holds the network's weights in the width that was paid for, whatever the converter did to them."""

import json
import re

import numpy as np
import pytest
import torch
from odd import odd_network
from torch import Tensor, nn

pytest.importorskip("coremltools", reason="coremltools, of the extra coreml, is not installed")

from ravn.adapters import build_model
from ravn.codecs import CodebookCodec, EntropyCodec
from ravn.errors import InputError
from ravn.exporters.coreml import CoreMLPackage, to_coreml
from ravn.exporters.programs import traced
from ravn.layers import set_weights, weight_layers
from ravn.runtime import fixed_rates, unpacked

WORDS = torch.zeros(1, 12, dtype=torch.int64)


@pytest.fixture(scope="module", params=["float32", "float16"])
def package(request: pytest.FixtureRequest) -> tuple[np.dtype, CoreMLPackage]:
    model, forms = odd_network()
    plan = {"ravn.plan": json.dumps({"layers": list(forms)})}
    return np.dtype(request.param), to_coreml(traced(model, WORDS, any_batch=False), forms, plan, request.param)


def test_weights_are_those_of_the_file(package: tuple[np.dtype, CoreMLPackage]) -> None:
    from mlpackage import weights

    dtype, written = package
    model, _ = odd_network()
    assert sorted(written.palettes) == ["embedding.weight", "narrow.weight", "wide.weight"]
    made = weights(written.files)
    for name in written.palettes:
        wanted = model.get_parameter(name).detach().numpy().astype(dtype)
        assert any(np.array_equal(found, wanted) for found in made), name
    # The tied head is stored once; spectra are rounded, with the batch norm's scales in them.
    assert len(made) == len(written.palettes) + len(written.rounded)
    assert written.left == ("unused.weight",)
    norm = model.norm
    scales = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    folded = (model.conv.weight.detach() * scales[:, None, None]).numpy()
    (found,) = (w for w in made if w.shape == folded.shape)
    peaks = np.abs(folded).max((1, 2), keepdims=True)
    assert (np.abs(found.astype(np.float32) - folded) <= peaks * (1 / 254 + 2e-3)).all()


def test_the_bytes_are_those_of_indices_and_tables(package: tuple[np.dtype, CoreMLPackage]) -> None:
    dtype, written = package
    model, _ = odd_network()
    bits = 0
    for name, (width, tables) in written.palettes.items():
        bits += width * model.get_parameter(name).numel() + 8 * dtype.itemsize * (tables << width)
    bits += sum(8 * model.get_parameter(name).numel() for name in written.rounded)
    rest = sum(p.numel() for p in model.parameters() if p.dim() == 1) * dtype.itemsize
    stored = len(written.files["Data/com.apple.CoreML/weights/weight.bin"])
    assert bits / 8 <= stored <= bits / 8 + rest + 4096  # every blob begins at a multiple of 64


def test_batch_norms_are_folded_into_scales_of_channels() -> None:
    from mlpackage import operations, weights

    torch.manual_seed(0)
    model = build_model("digits:resnet8").eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, -1, 1)
    codec = CodebookCodec(4)
    forms = fixed_rates({n.name: codec.encode(model.get_parameter(n.name)) for n in weight_layers(model)})
    set_weights(model, [(name, unpacked(form)) for name, form in forms.items()])
    written = to_coreml(traced(model, torch.zeros(1, 1, 8, 8), any_batch=False), forms, {}, "float32")
    assert {width for width, _ in written.palettes.values()} == {4}
    assert "batch_norm" not in {operation.type for operation in operations(written.files)}
    scales = (model.bn1.weight / (model.bn1.running_var + model.bn1.eps).sqrt()).detach()
    first = (model.conv1.weight.detach() * scales[:, None, None, None]).numpy()
    assert any(w.shape == first.shape and np.allclose(w, first, rtol=1e-5, atol=1e-8) for w in weights(written.files))
    count = sum(model.get_parameter(name).numel() for name in forms)
    assert len(written.files["Data/com.apple.CoreML/weights/weight.bin"]) < count / 2 + 10_000


def test_it_tells_about_itself_and_not_about_this_machine(package: tuple[np.dtype, CoreMLPackage]) -> None:
    from mlpackage import model

    _, written = package
    told = model(written.files).description.metadata.userDefined
    assert "conv.weight" in json.loads(told["ravn.plan"])["layers"]
    assert not re.search(rb"\.py\b|/home|/root|/tmp|site-packages", b"".join(written.files.values()))
    network, forms = odd_network()
    again = to_coreml(traced(network, WORDS, any_batch=False), forms, dict(told), str(package[0]))
    assert again.files == written.files


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(-1, -2))


def test_an_operator_without_a_core_ml_form_is_named_with_its_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), Spectrum())).eval()
    program = traced(model, torch.zeros(1, 3, 8, 8), any_batch=False)
    with pytest.raises(
        InputError, match=r"^the operator aten\.linalg_eigvalsh of the layer '1\.1' has no Core ML form"
    ):
        to_coreml(program, {}, {})


def test_weights_of_many_levels_are_named() -> None:
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 4)).eval()
    codecs = {"0.weight": EntropyCodec(2e-5), "1.weight": EntropyCodec(0.01)}
    forms = fixed_rates({name: codec.encode(model.get_parameter(name)) for name, codec in codecs.items()})
    set_weights(model, [(name, unpacked(form)) for name, form in forms.items()])
    written = to_coreml(traced(model, torch.zeros(1, 300), any_batch=False), forms, {})
    assert written.rounded == ("0.weight",)
    assert list(written.palettes) == ["1.weight"]
