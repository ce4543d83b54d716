"""The public names are these and no others, and they cost no heavy import."""

import json
import subprocess
import sys

import pytest

import ravn

NAMES = [
    "Artifact",
    "ArtifactError",
    "Budget",
    "BudgetError",
    "Compressed",
    "InputError",
    "MissingPackageError",
    "Plan",
    "RavnError",
    "Result",
    "Settings",
    "Task",
    "__version__",
    "compress",
    "load",
    "read",
    "save",
]

HEAVY = {
    "stable_baselines3",
    "sb3_contrib",
    "gymnasium",
    "jinja2",
    "matplotlib",
    "timm",
    "torchvision",
    "transformers",
    "datasets",
    "sklearn",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "codecarbon",
    "pyarrow",
    "PIL",
    "yaml",
    "typer",
    "rich",
    "click",
    "ray",
}

PROBE = """
import json, sys
import torch
before = set(sys.modules)
import ravn
for name in ravn.__all__:
    getattr(ravn, name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(ravn.__all__) == NAMES


def test_no_other_name_is_there() -> None:
    assert set(NAMES) <= set(dir(ravn))
    with pytest.raises(AttributeError, match="module 'ravn' has no attribute 'compres'"):
        ravn.compres  # noqa: B018


def test_import_ravn_waits_for_no_torch() -> None:
    subprocess.run([sys.executable, "-c", "import ravn, sys; assert 'torch' not in sys.modules"], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(ravn, name)
    assert value.__doc__


def test_all_errors_are_one_family() -> None:
    for error in (ravn.ArtifactError, ravn.InputError, ravn.BudgetError, ravn.MissingPackageError):
        assert issubclass(error, ravn.RavnError)
    assert issubclass(ravn.BudgetError, ravn.InputError)
    assert issubclass(ravn.InputError, ValueError)
    assert issubclass(ravn.MissingPackageError, ImportError)
    assert ravn.BudgetError("too small", 12).smallest_bytes == 12
    assert "pip install 'ravn[rl]'" in str(ravn.MissingPackageError("gymnasium", "rl"))


def test_importing_ravn_loads_nothing_heavy_that_torch_does_not() -> None:
    found = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
    loaded = set(json.loads(found.stdout))
    assert "ravn" in loaded
    assert loaded & HEAVY == set()
