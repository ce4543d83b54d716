"""Kernels for GPUs: their logic in Triton's interpreter, their code from the compiler; on a GPU where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ravn.codecs import EntropyCodec
from ravn.runtime import fixed_rate, kernels, unpacked

triton = pytest.importorskip("triton", reason="triton is not installed")

SCRIPT = Path(__file__).with_name("interpreted.py")


def test_the_interpreter_gives_every_weight_of_1_to_8_bits_to_the_bit() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1", "2", "3", "4", "5", "6", "7", "8"]


@pytest.mark.gpu
def test_a_gpu_gives_every_weight_of_1_to_8_bits_to_the_bit() -> None:
    from interpreted import main

    main("cuda")


def test_without_a_gpu_nothing_is_asked_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    form = fixed_rate(EntropyCodec(0.1).encode(torch.randn(40, 30)))
    assert form is not None
    assert kernels.kernels_on(torch.device("cpu")) is None
    assert kernels.product(form, torch.randn(1, 30), None) is None
    assert torch.equal(kernels.weight_of(form), unpacked(form))


CODES = {f"{stage}{number}": "*u8" for stage in "pq" for number in range(4)}
SIZES = dict.fromkeys(("total", "size", "columns", "batch"), "i32")
FLOATS = {"table": "*fp32", "scales": "*fp32", "bias": "*bf16", "inputs": "*bf16", "out": "*bf16"}
TYPES = {**CODES, **SIZES, **FLOATS, "counts": "*i64", "offsets": "*i64"}
WIDTHS = {"B0": 4, "B1": 1, "B2": 0, "B3": 0, "C0": 4, "C1": 2, "C2": 1, "C3": 0}
KNOWN = {**WIDTHS, "ESCAPE": 31, "SCALED": True, "BIASED": True, "BATCH": 4, "BLOCK": 1024}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("name", ["_count", "_unpack", "_product"])
def test_the_compiler_takes_them(name: str, two: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ravn.runtime import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, name)
    known = {key: value for key, value in {**KNOWN, "TWO": two}.items() if key in kernel.arg_names}
    signature = {key: "constexpr" if key in known else TYPES[key] for key in kernel.arg_names}
    places = {(kernel.arg_names.index(key),): value for key, value in known.items()}
    built = triton.compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 80, 32))
    assert built.asm["cubin"]
