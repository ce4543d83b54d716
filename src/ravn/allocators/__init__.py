"""2 DECIDE: layers and a budget -> a plan: PPO, searches without a policy, knapsack, uniform, random."""

from collections.abc import Callable
from importlib.util import find_spec

from ravn.allocators.evolutionary import EvolutionaryAllocator
from ravn.allocators.greedy import GreedyAllocator
from ravn.allocators.knapsack import KnapsackAllocator
from ravn.allocators.local_search import LocalSearchAllocator
from ravn.allocators.ppo import PPOAllocator
from ravn.allocators.problem import Allocation, Allocator, Choice, Problem, Unit
from ravn.allocators.random_search import RandomAllocator
from ravn.allocators.surrogate_search import QuadraticAllocator, SurrogateAllocator
from ravn.allocators.uniform import EqualAllocator, UniformAllocator
from ravn.errors import InputError, MissingPackageError

__all__ = [
    "ALLOCATORS",
    "Allocation",
    "Allocator",
    "Choice",
    "EqualAllocator",
    "EvolutionaryAllocator",
    "GreedyAllocator",
    "KnapsackAllocator",
    "LocalSearchAllocator",
    "PPOAllocator",
    "Problem",
    "QuadraticAllocator",
    "RandomAllocator",
    "SurrogateAllocator",
    "UniformAllocator",
    "Unit",
    "allocator_from_name",
]

ALLOCATORS: dict[str, Callable[[int], Allocator]] = {
    "ppo": PPOAllocator,
    "knapsack": KnapsackAllocator,
    "local": LocalSearchAllocator,
    "surrogate": SurrogateAllocator,
    "quadratic": QuadraticAllocator,
    "evolutionary": EvolutionaryAllocator,
    "greedy": GreedyAllocator,
    "equal": EqualAllocator,
    "uniform": UniformAllocator,
    "random": RandomAllocator,
}


def allocator_from_name(name: str, seed: int = 0) -> Allocator:
    """The allocator that the command line knows under a name.

    Raises:
        InputError: there is none.
        MissingPackageError: it needs a package that is not installed; said now, not after minutes of preparation.
    """
    if name not in ALLOCATORS:
        raise InputError(f"there is no allocator {name!r}; there are {', '.join(ALLOCATORS)}")
    for package in ("gymnasium", "sb3_contrib") if name == "ppo" else ():
        if find_spec(package) is None:
            raise MissingPackageError(package, "rl")
    return ALLOCATORS[name](seed)
