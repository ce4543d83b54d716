"""`ravn compress --target export`: the budget is kept by what the file exports to, not only by the file."""

from pathlib import Path

import pytest

from ravn.artifact import read
from ravn.exporters.inputs import example_input
from ravn.exporters.programs import traced
from ravn.loading import load
from ravn.runtime import fixed_rates

BITS = 4.0
QUICK = ("--evaluations", "2", "--epochs", "0", "--allocator", "knapsack")


@pytest.fixture(scope="module")
def file(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ravn.cli.app import run

    out = tmp_path_factory.mktemp("target") / "r"
    words = ("--model", "digits:resnet8", "--weights", weights, "--data", "digits", "--bits", BITS, "--out", out)
    assert run([str(word) for word in ("compress", *words, *QUICK, "--target", "export")]) == 0
    return out / "model.ravn"


def test_the_stored_codes_take_no_more_bits_than_were_asked_for(file: Path) -> None:
    artifact, model = read(file), load(file)
    forms = fixed_rates(artifact.layers)
    assert list(forms) == list(artifact.layers)
    stored = sum(form.size_bytes for form in forms.values())
    count = sum(p.numel() for p in model.parameters())
    assert 8 * stored <= BITS * sum(model.get_parameter(name).numel() for name in forms)
    # One look-up reads a weight: no spectra, and codes of one length.
    assert not any(form.spectral for form in forms.values())
    assert {len(form.stages) for form in forms.values()} == {1}
    # The room that the rest of the file leaves is used.
    rest = file.stat().st_size - sum(layer.size_bytes for layer in artifact.layers.values())
    assert 0.97 * BITS * count / 8 <= stored + rest <= BITS * count / 8


def test_the_onnx_file_is_as_large_as_its_codes_and_what_is_beside_them(file: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnx, of the extra onnx, is not installed")
    from ravn.exporters.onnx_graph import to_onnx

    artifact, model = read(file), load(file)
    forms = fixed_rates(artifact.layers)
    rest = sum(t.nbytes for name, t in model.state_dict().items() if name not in forms)
    payload = sum(form.size_bytes for form in forms.values()) + rest
    packed = to_onnx(traced(model, example_input(artifact.preprocessing, None)), forms, {})
    assert len(packed.data) <= 1.05 * payload + 20_000
    assert packed.payload_bytes <= 1.05 * payload
    assert packed.left == ()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--target", "phone"), "--target phone is impossible; give file or export"),
        (("--target", "export", "--epochs", "1"), "a budget for exports counts codes of fixed length"),
        (("--target", "export", "--preset", "paper"), "leave the preset 'default', 0 epochs, and an allocator"),
        (("--target", "export", "--arm", "vq"), "a budget for exports counts codes of fixed length"),
    ],
)
def test_what_can_not_be_counted_is_refused(words, sentence: str, weights: Path, tmp_path: Path, ravn) -> None:
    given = ("--model", "digits:resnet8", "--weights", weights, "--data", "digits", "--bits", "3", "--evaluations", "2")
    code, _, err = ravn("compress", *given, "--out", tmp_path / "r", "--epochs", "0", *words)
    assert code == 2
    assert sentence in err.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
