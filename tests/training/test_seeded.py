"""What training draws is decided by its seed, and leaves everybody else's draws alone."""

import pytest
import torch

from ravn.training.randomness import seeded

CPU = torch.device("cpu")


def drawn(seed: int) -> list[float]:
    """What a layer and an order draw under a seed."""
    with seeded(seed, CPU) as generator:
        return [*torch.rand(3).tolist(), *torch.rand(3, generator=generator).tolist()]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_same_seed_draws_the_same_whatever_was_drawn_before(seed: int) -> None:
    first = drawn(seed)
    torch.rand(7)
    assert drawn(seed) == first
    assert drawn(seed ^ 5) != first


def test_draws_inside_change_none_outside() -> None:
    state = torch.random.get_rng_state()
    undisturbed = torch.rand(4)
    torch.random.set_rng_state(state)
    drawn(3)
    assert torch.equal(torch.rand(4), undisturbed)


def test_an_error_inside_brings_the_state_back_too() -> None:
    state = torch.random.get_rng_state()
    with pytest.raises(KeyError), seeded(3, CPU):
        raise KeyError(torch.rand(1))
    assert torch.equal(torch.random.get_rng_state(), state)
