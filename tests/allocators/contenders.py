"""The allocators under test, small enough to be run often, and what is watched while they run."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ravn.allocators import ALLOCATORS, Allocator, PPOAllocator, Problem
from ravn.allocators.problem import Selection


def small_ppo(seed: int = 0) -> PPOAllocator:
    """PPO with a policy that is hardly trained: the laws hold all the same."""
    return PPOAllocator(seed, rounds=3, episodes=8, rollouts=1, epochs=1, batch=32)


CONTENDERS: dict[str, Callable[[int], Allocator]] = {**ALLOCATORS, "ppo": small_ppo}


def watched(problem: Problem) -> tuple[Problem, list[Selection]]:
    """The same problem, and the list to which every selection is added whose loss is asked for."""
    asked: list[Selection] = []

    def loss(selection: Selection) -> float:
        asked.append(selection)
        return problem.loss(selection)

    return replace(problem, loss=loss), asked


def global_states() -> tuple[object, ...]:
    """States of the generators that everybody shares, comparable by ==."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, keys.tolist(), *rest, torch.random.get_rng_state().tolist()
