"""Stock onnxruntime and the onnx reference unpack what was packed, and say what PyTorch says."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from odd import odd_network
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from ravn.errors import InputError
from ravn.exporters.onnx_functions import DOMAIN, unpacking
from ravn.exporters.onnx_graph import OnnxFile, to_onnx
from ravn.exporters.programs import traced
from ravn.exporters.sessions import session
from ravn.exporters.verification import accuracies, ensure_as_accurate, largest_difference
from ravn.runtime.stages import staged, unstaged

WORDS = torch.zeros(1, 12, dtype=torch.int64)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return odd_network()[0]


@pytest.fixture(scope="module")
def packed() -> OnnxFile:
    model, forms = odd_network()
    return to_onnx(traced(model, WORDS), forms, {"ravn.plan": json.dumps({"layers": list(forms)})})


def test_outputs_are_those_of_pytorch_at_any_batch_size(network: nn.Module, packed: OnnxFile) -> None:
    assert largest_difference(network, session(packed.data), WORDS) < 1e-5
    run = session(packed.data)
    assert run(WORDS.expand(7, 12))[0].shape == (7, 12, 50)


def test_every_used_weight_is_packed_and_none_is_stored_twice(packed: OnnxFile) -> None:
    model = onnx.load_from_string(packed.data)
    assert packed.left == ("unused.weight",)
    floats = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(i.dims) for i in floats) <= 128
    forms = {name: form for name, form in odd_network()[1].items() if name not in packed.left}
    codes = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.UINT8]
    stored = sum(len(i.raw_data) for i in codes)
    assert stored == sum(plane.nbytes for form in forms.values() for stage in form.stages for plane in stage.planes)


def test_only_standard_operators_are_used(packed: OnnxFile) -> None:
    model = onnx.load_from_string(packed.data)
    onnx.checker.check_model(model)
    used = {(node.domain, node.op_type) for f in model.functions for node in f.node}
    used |= {(node.domain, node.op_type) for node in model.graph.node}
    known = {("", schema.name) for schema in onnx.defs.get_all_schemas()}
    assert used - known == {(DOMAIN, function.name) for function in model.functions}


def test_a_runtime_unpacks_once_when_it_loads(packed: OnnxFile, tmp_path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(packed.data, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert not kinds & {"BitShift", "BitwiseAnd", "CumSum", "Where", "ScatterElements"}


def test_sizes_are_those_of_the_file_and_the_plan_is_in_it(packed: OnnxFile) -> None:
    model = onnx.load_from_string(packed.data)
    assert packed.payload_bytes == sum(len(i.raw_data) for i in model.graph.initializer)
    assert packed.payload_bytes < len(packed.data) < packed.payload_bytes + 20_000
    properties = {p.key: p.value for p in model.metadata_props}
    assert "conv.weight" in json.loads(properties["ravn.plan"])["layers"]
    assert not re.search(rb"\.py|/home|site-packages", packed.data)


def reference(function: onnx.FunctionProto, inputs: list[np.ndarray]) -> np.ndarray:
    """What the specification's own implementation makes of a function."""
    named = dict(zip(function.input, inputs, strict=True))
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in named.items()}
    values = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    output = onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node(function.name, list(function.input), ["weight"], domain=DOMAIN)
    graph = onnx.helper.make_graph([node], "one", values, [output])
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, functions=[function], opset_imports=opsets)
    return ReferenceEvaluator(model).run(None, named)[0]


@pytest.mark.parametrize("size", [2, 3, 16, 17, 44, 100, 256, 700])
def test_the_function_of_any_widths_gives_the_codes_back(size: int) -> None:
    generator = np.random.default_rng(size)
    codes = np.minimum(generator.geometric(min(2.5 / size, 0.6), 1003) - 1, size - 1)
    stages, order = staged(codes, size)
    function = unpacking([stage.width for stage in stages], 20)
    planes = [plane.numpy() for stage in stages for plane in stage.planes]
    table = np.arange(len(order), dtype=np.int16)[:, None]
    inputs = [*planes, table, np.full((1, 1), 0.5, np.float32), np.array([17, 59], np.int64)]
    found = reference(function, inputs)
    assert np.array_equal(found.ravel(), 0.5 * unstaged(stages).numpy()[:1003])


def test_what_says_something_else_is_refused(network: nn.Module, packed: OnnxFile) -> None:
    run = session(packed.data)
    with pytest.raises(InputError, match=r"outputs differ by 1\.0e-03, more than 0\.0001: nothing kept"):
        largest_difference(network, lambda x: tuple(o * 1.001 for o in run(x)), WORDS)
    with pytest.raises(InputError, match="differ by nan"):
        largest_difference(network, lambda x: tuple(o * torch.nan for o in run(x)), WORDS)
    with pytest.raises(InputError, match="other shapes for a batch of 3"):
        largest_difference(network, lambda x: tuple(o[:1] for o in run(x)), WORDS)
    with pytest.raises(InputError, match=r"right on 91\.00 % of images, not 92\.00 %"):
        ensure_as_accurate(92.0, 91.0, 0.5)
    ensure_as_accurate(92.0, 91.6, 0.5)


def test_accuracies_are_counted_on_the_same_images() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False)).eval()
    images = torch.randn(200, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    dataset = torch.utils.data.TensorDataset(images, labels)
    wrong = accuracies(model, lambda x: (-model(x),), dataset, lambda x: x)
    assert wrong[0] == 100.0
    assert wrong[1] == 0.0


@pytest.mark.parametrize("opset", [11, 17, 99])
def test_an_opset_without_the_operators_is_refused(opset: int, network: nn.Module) -> None:
    with pytest.raises(InputError, match=f"--opset {opset} is not supported; give 18 to 23"):
        to_onnx(traced(network, WORDS), {}, {}, opset)


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(-1, -2))


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def test_an_operator_without_an_onnx_form_is_named_with_its_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), Spectrum())).eval()
    with pytest.raises(InputError, match=r"^the operator aten\._linalg_eigh of the layer '1\.1' has no ONNX form"):
        to_onnx(traced(model, torch.zeros(1, 3, 8, 8)), {}, {})


def test_a_network_that_cannot_be_traced_says_why() -> None:
    with pytest.raises(InputError, match=r"Branch can't be exported: Could not guard .*test_onnx\.py.*any batch size"):
        traced(Branch(), torch.zeros(1, 3))


def test_bytes_that_are_no_model_are_told() -> None:
    with pytest.raises(InputError, match=r"onnxruntime .* can't load the model: .*"):
        session(b"nonsense")
