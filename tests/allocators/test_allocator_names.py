"""Allocators by name."""

from importlib.util import find_spec

import pytest

import ravn.allocators
from ravn.allocators import ALLOCATORS, allocator_from_name
from ravn.errors import InputError, MissingPackageError


@pytest.mark.parametrize("name", ALLOCATORS)
def test_a_name_gives_the_allocator_that_bears_it_with_the_seed(name):
    allocator = allocator_from_name(name, 7)
    assert allocator.name == name
    assert allocator == ALLOCATORS[name](7)
    assert allocator != ALLOCATORS[name](8)


@pytest.mark.parametrize("name", ["", "PPO", "dqn", "ppo "])
def test_an_unknown_name_is_refused_with_all_that_there_are(name):
    with pytest.raises(InputError) as refusal:
        allocator_from_name(name)
    assert repr(name) in str(refusal.value)
    assert all(known in str(refusal.value) for known in ("ppo", "knapsack", "local", "greedy", "uniform", "random"))


@pytest.mark.parametrize("missing", ["gymnasium", "sb3_contrib"])
def test_without_its_packages_ppo_says_how_to_install_them_and_others_work(missing, monkeypatch):
    monkeypatch.setattr(ravn.allocators, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(MissingPackageError, match=rf"{missing}.*pip install 'ravn\[rl\]'"):
        allocator_from_name("ppo")
    for name in set(ALLOCATORS) - {"ppo"}:
        assert allocator_from_name(name).name == name
