"""A tensor of a graph is known by its values: itself, scaled along an axis, or transposed; nothing else is."""

import numpy as np
import pytest
import torch

from ravn.codecs import CodebookCodec, UniformCodec
from ravn.exporters.matching import Match, matched, scales_of
from ravn.runtime import fixed_rate
from ravn.runtime.fixed_rate import table_values

GENERATOR = np.random.default_rng(0)
WEIGHTS = {
    "conv": GENERATOR.normal(size=(6, 4, 3, 3)).astype(np.float32),
    "square": GENERATOR.normal(size=(5, 5)).astype(np.float32),
}
SCALES = GENERATOR.normal(size=6).astype(np.float32)


def test_the_weight_itself_and_its_transpose() -> None:
    found = matched({"a": WEIGHTS["conv"], "b": WEIGHTS["square"].T.copy(), "square": WEIGHTS["square"]}, WEIGHTS)
    assert (found["a"].layer, found["a"].scales, found["a"].transposed) == ("conv", None, False)
    assert (found["b"].layer, found["b"].transposed) == ("square", True)
    assert not found["square"].transposed


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_along_an_axis(axis: int) -> None:
    shape = [-1 if a == axis else 1 for a in range(4)]
    scales = SCALES[: WEIGHTS["conv"].shape[axis]]
    found = matched({"folded": WEIGHTS["conv"] * scales.reshape(shape)}, WEIGHTS)["folded"]
    assert found.axis == axis
    assert np.allclose(found.scales, scales, rtol=1e-6)


def test_what_is_no_weight_has_no_match() -> None:
    other = GENERATOR.normal(size=(6, 4, 3, 3)).astype(np.float32)
    nearly = WEIGHTS["conv"].copy()
    nearly[0, 0, 0, 0] += 0.01
    assert matched({"other": other, "nearly": nearly, "bias": SCALES}, WEIGHTS) == {}


@pytest.mark.parametrize("codec", [UniformCodec(3), UniformCodec(3, per_channel=False), CodebookCodec(3)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_codes_times_their_scales_are_the_tensor_of_the_graph(codec, axis: int | None) -> None:
    encoded = codec.encode(torch.from_numpy(GENERATOR.normal(size=(16, 32, 3, 3)).astype(np.float32)))
    form, weight = fixed_rate(encoded), codec.decode(encoded).numpy()
    folded = GENERATOR.normal(size=1 if axis is None else weight.shape[axis]).astype(np.float32)
    match = Match("conv") if axis is None else Match("conv", axis, folded)
    shape = [-1 if a == axis else 1 for a in range(4)]
    tensor = weight if axis is None else weight * folded.reshape(shape)
    found = table_values(form).numpy() * scales_of(form, match)
    np.testing.assert_allclose(found, tensor, rtol=1e-6)
