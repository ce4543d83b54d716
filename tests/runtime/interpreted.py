"""Kernels in Triton's interpreter, on tensors of the CPU, against what the CPU does.

The interpreter is chosen by the environment before Triton is imported, so that a test runs this in its own process:
`TRITON_INTERPRET=1 python interpreted.py`. Without it, and on a GPU: `python interpreted.py cuda`.
"""

import copy
import sys

import numpy as np
import torch
from torch import nn

from ravn.codecs import CodebookCodec, EntropyCodec, UniformCodec
from ravn.layers import set_weights
from ravn.runtime import fixed_rates, kernels, pack_network, triton_kernels, unpacked
from ravn.runtime.lookup import values_of
from ravn.runtime.stages import Stage, staged

SHAPES = ((1, 1), (3, 7), (5, 211), (2, 3000))


def codes(size: int, count: int, slope: float) -> np.ndarray:
    """Codes of which the low ones are the more common, the larger the slope."""
    shares = np.arange(1, size + 1) ** -slope
    found = np.random.default_rng(size).choice(size, count, p=shares / shares.sum())
    found[: min(size, count)] = np.arange(min(size, count))
    return found


def check(size: int, rows: int, columns: int, slope: float, device: str, dtype: torch.dtype) -> tuple[int, ...]:
    """Compare one weight, unpacked and multiplied; the widths of its stages."""
    stages, order = staged(codes(size, rows * columns, slope), size)
    generator = torch.Generator().manual_seed(size)
    table = torch.randn(len(order), generator=generator)
    scales = torch.rand(rows, generator=generator) if columns % 2 else None
    wanted = values_of(stages, table)[: rows * columns].reshape(rows, columns)
    wanted = wanted if scales is None else wanted * scales[:, None]
    there = tuple(Stage(stage.width, tuple(plane.to(device) for plane in stage.planes)) for stage in stages)
    form = (there, table.to(device), None if scales is None else scales.to(device))
    found = triton_kernels.weight(*form, (rows, columns), dtype)
    assert torch.equal(found.cpu(), wanted.to(dtype)), (size, rows, columns)
    inputs = torch.randn(1 + size % 5, columns, generator=generator)
    bias = torch.randn(rows, generator=generator) if size % 3 else None
    product = triton_kernels.product(*form, inputs.to(device), None if bias is None else bias.to(device), rows)
    assert torch.allclose(product.cpu(), nn.functional.linear(inputs, wanted, bias), rtol=1e-4, atol=1e-4)
    return tuple(stage.width for stage in stages)


def check_network(device: str) -> None:
    """A network uses the kernels by itself, and says what the float one says."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ).eval()
    codecs = {"0.weight": EntropyCodec(0.02, spectral=True), "2.weight": UniformCodec(3), "5.weight": CodebookCodec(4)}
    forms = fixed_rates({name: codec.encode(model.get_parameter(name)) for name, codec in codecs.items()})
    set_weights(model, [(name, unpacked(form)) for name, form in forms.items()])
    packed = copy.deepcopy(model)
    pack_network(packed, forms, {}, 0)
    calls = []
    plain = triton_kernels.product
    triton_kernels.product = lambda *given: (calls.append(given[3].shape), plain(*given))[1]
    inputs = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(packed.to(device)(inputs.to(device)).cpu(), model(inputs), atol=1e-5)
    assert calls == [(2, 24), (2, 16)]
    many = torch.randn(kernels.MOST_INPUTS + 1, 3, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(packed(many.to(device)).cpu(), model(many), atol=1e-5)
    assert torch.allclose(packed(inputs.to(device)).detach().cpu(), model(inputs).detach(), atol=1e-5)  # with gradients
    assert len(calls) == 2
    for name in ("2.weight", "5.weight"):
        owner = packed.get_submodule(name[0])
        assert torch.equal(owner.weight.cpu(), model.get_parameter(name))


def main(device: str) -> None:
    """Check everything, and tell the widths of single stages that were met."""
    seen = {
        check(1 << bits, rows, columns, slope, device, torch.float32)
        for bits in range(1, 9)
        for slope in (0.0, 1.5)
        for rows, columns in SHAPES
    }
    seen.add(check(700, 7, 401, 1.5, device, torch.float16))
    check_network(device)
    sys.stdout.write(" ".join(str(w) for w in sorted({widths[0] for widths in seen if len(widths) == 1})))


if __name__ == "__main__":
    main(*sys.argv[1:] or ["cpu"])
