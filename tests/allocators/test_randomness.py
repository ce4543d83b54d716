"""The policy's random numbers, kept apart from everybody else's."""

import random

import numpy as np
import pytest
import torch
from contenders import global_states

from ravn.allocators.randomness import PrivateRandomness


def draws() -> tuple[float, float, float]:
    """One number from each global generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_what_is_drawn_inside_leaves_no_trace_outside():
    before = global_states()
    with PrivateRandomness(3):
        draws()
        assert global_states() != before
    assert global_states() == before


def test_an_error_inside_leaves_no_trace_outside_either():
    before, threads, private = global_states(), torch.get_num_threads(), PrivateRandomness(3)

    def broken() -> None:
        with private:
            draws()
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        broken()
    assert (global_states(), torch.get_num_threads()) == (before, threads)


def test_visits_continue_each_other_whatever_others_draw_in_between():
    with PrivateRandomness(3):
        uninterrupted = [draws() for _ in range(4)]
    private, interrupted = PrivateRandomness(3), []
    for _ in range(4):
        with private:
            interrupted.append(draws())
        draws()
        torch.manual_seed(0)
    assert interrupted == uninterrupted


def test_two_of_them_do_not_disturb_each_other():
    alone = {}
    for seed in (1, 2):
        with PrivateRandomness(seed):
            alone[seed] = [draws(), draws()]
    assert alone[1] != alone[2]
    first, second = PrivateRandomness(1), PrivateRandomness(2)
    taken: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
    for _ in range(2):
        for seed, private in ((1, first), (2, second)):
            with private:
                taken[seed].append(draws())
    assert taken == alone


def test_one_thread_inside_and_as_many_as_before_outside():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with PrivateRandomness(0):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
