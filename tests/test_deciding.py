"""What a budget means for a network, and that one search for several budgets keeps each of them."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from ravn.allocators import allocator_from_name
from ravn.allocators.problem import Allocation, Choice, Problem, Unit
from ravn.allocators.uniform import at_bits
from ravn.deciding import MOST_BITS, Decision, decide_all, limits_of
from ravn.errors import BudgetError, InputError
from ravn.loading import loaded_from
from ravn.pipeline import compress
from ravn.plan import Budget
from ravn.progress import Silent
from ravn.scoring.options import entropy_bytes
from ravn.settings import Settings
from ravn.stages import checked_layers, smallest_limit
from ravn.task import Task

QUICK = Settings(evaluations=12, calibration_images=16, search_images=16, holdout_images=16)
BUDGETS = [Budget(size_bytes=size) for size in (800, 1100)]


def task_of(hidden: int, outputs: int, seed: int = 0, *, norm: bool = True) -> Task:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, hidden, 3, padding=1), nn.BatchNorm2d(hidden) if norm else nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * hidden, outputs)).eval()
        images = TensorDataset(torch.randn(64, 1, 8, 8), torch.arange(64) % outputs)
    return Task(model, images, images)


networks = st.builds(task_of, st.integers(2, 24), st.integers(2, 12), st.integers(0, 99), norm=st.booleans())
quick = settings(deadline=None, derandomize=True, max_examples=12)


@given(networks)
@quick
def test_the_smallest_budget_is_accepted_and_one_byte_less_is_refused_with_it(task: Task) -> None:
    layers = checked_layers(task.model)
    smallest = smallest_limit(task, layers)
    assert limits_of(task, layers, Budget(size_bytes=smallest)).limit_bytes == smallest
    for missing in (1, 2, 10):
        with pytest.raises(BudgetError, match=f"give at least {smallest:,} bytes") as refusal:
            limits_of(task, layers, Budget(size_bytes=smallest - missing))
        assert refusal.value.smallest_bytes == smallest


@given(networks, st.floats(1.0, 40.0))
@quick
def test_a_budget_leaves_room_for_zeros_and_never_grows_on_the_way(task: Task, share: float) -> None:
    layers = checked_layers(task.model)
    budget = Budget(size_bytes=math.ceil(share * smallest_limit(task, layers)))
    limits = limits_of(task, layers, budget)
    zeros = sum(entropy_bytes(torch.zeros(layer.shape, dtype=torch.int64)) for layer in layers)
    assert zeros <= limits.capacity_bytes < limits.limit_bytes <= limits.budget_bytes == budget.size_bytes
    assert 8 * limits.capacity_bytes <= MOST_BITS * sum(layer.parameters for layer in layers)


@given(networks, st.integers(1, 10**6))
@quick
def test_beyond_what_float_weights_are_worth_more_bytes_change_nothing(task: Task, more: int) -> None:
    layers = checked_layers(task.model)
    ample = 10 * sum(p.numel() for p in task.model.parameters()) + 10_000
    first, second = (limits_of(task, layers, Budget(size_bytes=ample + extra)) for extra in (0, more))
    assert (first.limit_bytes, first.capacity_bytes) == (second.limit_bytes, second.capacity_bytes)
    assert second.budget_bytes == first.budget_bytes + more


@pytest.mark.parametrize("seed", range(5))
def test_the_budget_that_a_refusal_names_is_enough_for_a_decision(seed: int) -> None:
    task = task_of(3 + 4 * seed, 2 + 7 * seed, seed, norm=seed % 2 == 0)
    with pytest.raises(BudgetError) as refusal:
        decisions(task, [Budget(size_bytes=100)], "equal")
    (found,) = decisions(task, [Budget(size_bytes=refusal.value.smallest_bytes)], "equal")
    assert found.codecs == found.equal


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(8, 4)


def decisions(task: Task, budgets: list[Budget], name: str = "local") -> list[Decision]:
    allocator = allocator_from_name(name)
    return decide_all(task, budgets, allocator, QUICK, log=None, progress=Silent())


@pytest.fixture(scope="module")
def found(task: Task) -> list[Decision]:
    return decisions(task, BUDGETS)


def test_every_budget_gets_a_codec_for_every_layer_in_the_order_asked_for(task: Task, found: list[Decision]) -> None:
    turned = decisions(task, BUDGETS[::-1])
    assert [d.codecs for d in turned] == [d.codecs for d in found[::-1]]
    for decision in found:
        assert set(decision.codecs) == set(decision.equal) == {layer.name for layer in checked_layers(task.model)}
    tight, ample = ([codec.step for codec in decision.equal.values()] for decision in found)
    assert all(fine <= coarse for fine, coarse in zip(ample, tight, strict=True))
    assert ample != tight


def test_the_same_question_has_the_same_answer_and_leaves_the_network_alone(task: Task, found: list[Decision]) -> None:
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    again = decisions(task, BUDGETS)
    assert [replace(d, seconds=0) for d in again] == [replace(d, seconds=0) for d in found]
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.model.state_dict().items())


def test_one_impossible_budget_among_others_is_refused_before_any_search(task: Task) -> None:
    smallest = smallest_limit(task, checked_layers(task.model))
    with pytest.raises(BudgetError, match=f"a budget of {smallest - 1:,} bytes"):
        decisions(task, [*BUDGETS, Budget(size_bytes=smallest - 1)])


class Lopsided:
    """All that it can to the first layer, and what is left to the others: a plan that no search would propose."""

    name = "lopsided"

    def allocate(self, problem: Problem) -> Allocation:
        plan = (0,) * len(problem.units)
        for unit, choices in enumerate(len(u.choices) for u in problem.units):
            fitting = [(*plan[:unit], choice, *plan[unit + 1 :]) for choice in range(choices)]
            plan = max(filter(problem.fits, fitting), key=problem.size_bytes)
        return Allocation(plan, 0)


def test_a_plan_that_hurts_more_than_the_equal_one_once_it_is_rounded_is_not_taken(task: Task) -> None:
    bad, equal = (compress(task, BUDGETS[0], decider, QUICK) for decider in (Lopsided(), allocator_from_name("equal")))
    assert bad.result.outdone
    assert not equal.result.outdone
    assert bad.plan.codecs == equal.plan.codecs
    assert loaded_weights(bad.data, task) == loaded_weights(equal.data, task)


def loaded_weights(data: bytes, task: Task) -> dict[str, list[float]]:
    """What a file holds."""
    return {name: weight.flatten().tolist() for name, weight in loaded_from(data, task.model).state_dict().items()}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_is_not_finite_is_refused_by_the_name_of_its_layer(value: float) -> None:
    broken = task_of(4, 3)
    with torch.no_grad():
        broken.model[4].weight[1, 2] = value
    with pytest.raises(InputError, match=r"layer '4\.weight' holds NaN or infinite weights"):
        decisions(broken, BUDGETS)


def test_a_network_without_matrices_is_refused() -> None:
    images = TensorDataset(torch.randn(8, 3, 4, 4), torch.zeros(8, dtype=torch.long))
    with pytest.raises(InputError, match="BatchNorm2d has no parameter of two or more dimensions"):
        decisions(Task(nn.BatchNorm2d(3), images, images), BUDGETS)


def test_uniform_bits_are_the_most_that_are_not_too_many() -> None:
    units = tuple(
        Unit(name, name, 10, (), tuple(Choice(bits, int(10 * bits), 1 / bits) for bits in row))
        for name, row in (("a", (1.0, 2.0, 3.5)), ("b", (2.0, 3.0)), ("c", (4.0,)))
    )
    problem = Problem(units, 100, lambda _: 0.0, lambda _: 0.0, (0, 0, 0), 1)
    assert [at_bits(problem, bits) for bits in (0.5, 2.0, 3.0, 3.4, 3.5, 9.0)] == [
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 0),
        (1, 1, 0),
        (2, 1, 0),
        (2, 1, 0),
    ]
