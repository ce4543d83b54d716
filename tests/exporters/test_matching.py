"""A tensor of a graph is known by its values: itself, scaled along an axis, or transposed; nothing else is."""

import numpy as np
import pytest

from ravn.exporters.matching import matched

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
