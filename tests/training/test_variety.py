"""Inputs that are blended, patched and warped."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ravn.training import mixed, varied
from ravn.training.variety import patched, warped

PICTURES = torch.randn(64, 3, 8, 6, generator=torch.Generator().manual_seed(1))


def _generator(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _moved(before: Tensor, after: Tensor) -> float:
    """Share of the inputs that are not what they were."""
    return float((before != after).flatten(1).any(1).float().mean())


@pytest.mark.parametrize("shape", [(64, 3, 4, 4), (64, 5)])
def test_mixed_inputs_lie_between_themselves_and_others(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape, generator=_generator(1))
    for share in (0.0, 0.5, 1.0):
        blended = mixed(inputs, share, _generator())
        assert torch.equal(blended, mixed(inputs, share, _generator()))
        assert abs(_moved(inputs, blended) - share) < 0.2
        others = inputs[torch.randperm(64, generator=_after_draws(shape))]
        assert ((blended - inputs).abs() <= 0.5 * (others - inputs).abs() + 1e-6).all()


def _after_draws(shape: tuple[int, ...]) -> torch.Generator:
    """The generator as it stands when the partners are drawn."""
    generator = _generator()
    torch.rand((2, shape[0], *[1] * (len(shape) - 1)), generator=generator)
    return generator


@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_a_patch_is_one_rectangle_of_another_picture_and_leaves_half(seed: int, share: float) -> None:
    stamped = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 3, 8, 6)
    found = patched(stamped, share, _generator(seed))
    for own, picture in enumerate(found):
        foreign = picture[0] != own
        assert (picture == picture[0]).all()
        assert len(picture[0][foreign].unique()) <= 1
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns)
        assert rows.sum() <= 6  # sides are at most the root of a half
        assert columns.sum() <= 5
        assert all((line.int().diff() == 1).sum() <= 1 for line in (rows, columns))
    assert (_moved(stamped, found) > 0) == (share > 0)


def test_warping_is_about_the_centre_and_invents_no_numbers() -> None:
    found = warped(PICTURES, 1.0, _generator())
    assert _moved(PICTURES, found) == 1
    assert found.min() >= PICTURES.min()
    assert found.max() <= PICTURES.max()
    assert torch.equal(found, warped(PICTURES, 1.0, _generator()))
    even = torch.full((4, 3, 8, 6), 0.7)
    torch.testing.assert_close(warped(even, 1.0, _generator()), even)
    dot = torch.zeros(16, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    torch.testing.assert_close(warped(dot, 1.0, _generator())[:, :, 4, 4], torch.ones(16, 1))


def test_shares_of_none_change_nothing() -> None:
    assert torch.equal(varied(PICTURES, _generator(), mixing=0, warping=0), PICTURES)


def test_all_of_it_at_once_is_a_matter_of_the_seed() -> None:
    first, again, other = (varied(PICTURES, _generator(s), mixing=0.75, warping=0.75) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.85 < _moved(PICTURES, first) <= 1


def test_pictures_of_one_row_are_pictures() -> None:
    rows = torch.randn(8, 2, 1, 16, generator=_generator())
    assert varied(rows, _generator(), mixing=1, warping=1).shape == rows.shape


@pytest.mark.parametrize("inputs", [torch.arange(12).view(4, 3), torch.arange(48).view(4, 3, 2, 2)])
def test_tokens_stay_as_they_are(inputs: Tensor) -> None:
    assert torch.equal(varied(inputs, _generator(), mixing=1, warping=1), inputs)
    assert torch.equal(mixed(inputs, 1, _generator()), inputs)


def test_vectors_are_blended_only() -> None:
    vectors = torch.randn(16, 5, generator=_generator())
    assert torch.equal(varied(vectors, _generator(), mixing=1, warping=1), mixed(vectors, 1, _generator()))
