"""From a network to the allocator's question and back, at the price of one forward pass per plan and batch."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ravn.allocators import Choice, LocalSearchAllocator, Problem, Unit
from ravn.allocators.problem import FLOAT, Selection
from ravn.calibration import weight_moments
from ravn.codecs import EntropyCodec, decoded
from ravn.layers import set_weights
from ravn.plan import Layer
from ravn.scoring import Judge, Workbench, prepare
from ravn.scoring.fisher import fisher_information, step_octaves
from ravn.scoring.options import Options
from ravn.scoring.workbench import equal_selection, filling_step

Make = Callable[..., tuple[Workbench, list[Options]]]


@pytest.fixture
def make(layers: list[Layer], images: list[Tensor], other_images: list[Tensor]) -> Make:
    """Build a workbench for a network: its layers as units, or so many clusters of each."""

    def build(network: nn.Module, clusters: int = 0, capacity_bytes: int = 400) -> tuple[Workbench, list[Options]]:
        options = prepare(network, layers, images, clusters=clusters, capacity_bytes=capacity_bytes)
        names = [layer.name for layer in layers]
        judges = Judge(network, names, images), Judge(network, names, other_images)
        return Workbench(network, layers, options, *judges), options

    return build


def all_units(options: Sequence[Options], choose: Callable[[Unit], int]) -> Selection:
    """The same rule for every unit."""
    return tuple(choose(unit) for o in options for unit in o.units)


@pytest.mark.parametrize("clusters", [0, 3])
def test_floating_point_costs_nothing_and_finer_choices_less_than_coarser(network, make, clusters):
    bench, options = make(network, clusters)
    if clusters:  # steps are compensated for the errors before them
        assert bench.loss(all_units(options, lambda _: FLOAT)) == pytest.approx(0, abs=1e-6)
    for score in (bench.loss, bench.holdout_loss):
        coarsest = score(all_units(options, lambda _: 0))
        middle = score(all_units(options, lambda unit: len(unit.choices) // 2))
        finest = score(all_units(options, lambda unit: len(unit.choices) - 1))
        assert 0 < finest < middle < coarsest


@pytest.mark.parametrize("clusters", [0, 3])
def test_losses_do_not_depend_on_what_was_scored_before(network, make, clusters):
    bench, options = make(network, clusters)
    plans = [all_units(options, lambda unit, k=k: len(unit.choices) * k // 5) for k in range(5)]
    plans += [(FLOAT, *plans[0][1:]), (*plans[3][:-1], FLOAT)]
    forwards = [bench.loss(plan) for plan in plans]
    assert len(set(forwards)) == len(plans)
    assert [bench.loss(plan) for plan in reversed(plans)] == forwards[::-1]


@pytest.mark.parametrize("clusters", [0, 3])
def test_plans_that_differ_late_have_the_losses_of_whole_passes(network, make, layers, images, clusters):
    bench, options = make(network, clusters)
    judge = Judge(network, [layer.name for layer in layers], images)
    base = all_units(options, lambda unit: len(unit.choices) // 2)
    bench.loss(base)
    for unit in (*range(len(base)), *reversed(range(len(base)))):
        for choice in (FLOAT, 0, base[unit] + 1):
            plan = (*base[:unit], choice, *base[unit + 1 :])
            assert bench.loss(plan) == judge.loss(bench.network(plan))


@pytest.mark.parametrize("clusters", [0, 3])
def test_the_network_that_was_passed_in_is_not_changed(network, make, clusters):
    before, pristine = copy.deepcopy(network.state_dict()), dict(network.named_parameters())
    addresses = {name: parameter.data_ptr() for name, parameter in pristine.items()}
    bench, options = make(network, clusters)
    LocalSearchAllocator(0).allocate(bench.problem(600, 30))
    bench.loss(all_units(options, lambda _: FLOAT))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert {name: parameter.data_ptr() for name, parameter in network.named_parameters()} == addresses
    assert not network.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_plan_costs_one_forward_pass_per_batch(network, make, images, other_images):
    passes: list[int] = []
    network.register_forward_hook(lambda *_: passes.append(1))
    bench, options = make(network)
    for score, batches in ((bench.loss, images), (bench.holdout_loss, other_images)):
        passes.clear()
        score(all_units(options, lambda _: 1))
        assert len(passes) == len(batches)


def seen_weights(network: nn.Module, make: Make, clusters: int, selection: Callable[[list[Options]], Selection]):
    """Options, and the weights with which the network ran when a selection was scored."""
    seen: dict[str, Tensor] = {}
    network.register_forward_hook(lambda module, *_: seen.update({n: p.clone() for n, p in module.named_parameters()}))
    bench, options = make(network, clusters)
    bench.loss(selection(options))
    return options, seen


def test_the_network_runs_with_the_weights_of_the_choices(network, make):
    options, seen = seen_weights(network, make, 0, lambda _: (3, FLOAT, 5))
    assert torch.equal(seen["0.weight"], options[0].weight((3,)))
    assert torch.equal(seen["3.weight"], options[1].wanted)
    assert torch.equal(seen["6.weight"], options[2].weight((5,)))
    for name in ("0.bias", "1.weight", "1.bias", "3.bias", "6.bias"):
        assert torch.equal(seen[name], network.get_parameter(name))


def test_steps_make_good_the_errors_of_the_equal_plan_before_them(network, make, layers, images):
    _, options = make(network)
    by_name = {layer.name: option for layer, option in zip(layers, options, strict=True)}
    quantized, corrected = copy.deepcopy(network), 0
    for name, moments in weight_moments(quantized, network, list(by_name), images):
        weight, option = network.get_parameter(name).detach(), by_name[name]
        assert torch.allclose(option.wanted.flatten(1), moments.target(weight.flatten(1)), atol=1e-6)
        corrected += not torch.allclose(option.wanted, weight, atol=1e-4)
        away = [abs(math.log2(codec.step / option.middle)) for codec in option.codecs]
        middling = [torch.equal(option.middling(), option.weight((i,))) for i in range(len(away))].index(True)
        assert away[middling] == pytest.approx(min(away), abs=1e-6)
        set_weights(quantized, [(name, option.middling())])
    assert corrected == len(layers) - 1


def test_clusters_in_floating_point_keep_their_weights_and_the_others_do_not(network, make):
    options, seen = seen_weights(network, make, 3, lambda _: (2, FLOAT, 4, *(FLOAT,) * 3, 1, 2, 3))
    first, kept = network.get_parameter("0.weight"), options[0].owner == 1
    assert torch.equal(seen["0.weight"][kept], first[kept])
    assert torch.equal(seen["0.weight"][~kept], options[0].weight((2, 0, 4))[~kept])
    assert not torch.equal(seen["0.weight"][~kept], first[~kept])
    assert torch.equal(seen["3.weight"], options[1].wanted)
    assert torch.equal(seen["6.weight"], options[2].weight((1, 2, 3)))


def test_the_codecs_of_a_selection_are_those_of_its_layers(network, make):
    bench, options = make(network)
    assert bench.codecs((0, 2, 4)) == {
        "0.weight": options[0].codec((0,)),
        "3.weight": options[1].codec((2,)),
        "6.weight": options[2].codec((4,)),
    }
    bench, options = make(network, clusters=2)
    assert [codec.bits for codec in bench.codecs((0, 1, 2, 3, 4, 5)).values()] == [(0, 1), (2, 3), (4, 5)]


@pytest.mark.parametrize("clusters", [0, 3])
def test_the_question_counts_all_bytes_and_its_equal_selection_fits(network, make, clusters):
    bench, options = make(network, clusters)
    problem = bench.problem(900, 17)
    assert problem.evaluations == 17
    assert problem.units == tuple(unit for o in options for unit in o.units)
    assert problem.capacity_bytes + sum(o.base_bytes for o in options) == 900
    assert problem.fits(problem.equal)
    assert problem.loss(problem.equal) == bench.loss(problem.equal) != problem.holdout_loss(problem.equal)


def test_in_the_equal_selection_no_layer_lags_a_step_behind_though_some_lack_coarse_ones(network, make):
    lacking = 0
    for capacity in (60, 80, 100, 120, 150, 250, 400):
        bench, options = make(network, capacity_bytes=capacity)
        rows, equal = [row for o in options for row in o.fineness()], bench.problem(capacity, 1).equal
        reached = max(row[i] for row, i in zip(rows, equal, strict=True))
        assert all(row[i + 1] >= reached for row, i in zip(rows, equal, strict=True) if i + 1 < len(row))
        lacking += len({len(row) for row in rows}) > 1
    assert lacking > 2, "all layers have the same choices: nothing is tested"


def problem_of(sizes: Sequence[Sequence[int]], capacity: int) -> Problem:
    units = tuple(
        Unit(f"u{i}", f"u{i}", 10, (), tuple(Choice(float(s), s, 1.0 / (1 + s)) for s in row))
        for i, row in enumerate(sizes)
    )
    return Problem(units, capacity, lambda _: 0.0, lambda _: 0.0, (0,) * len(units), 0)


def test_the_equal_selection_goes_up_level_by_level_unit_by_unit_to_the_last_that_fits():
    problem = problem_of([[1, 3, 6], [1, 3, 6]], 0)
    fineness = [[0.0, 1.0, 2.0]] * 2
    found = {c: equal_selection(replace(problem, capacity_bytes=c), fineness) for c in (2, 3, 4, 6, 9, 11, 12, 99)}
    assert found == {
        2: (0, 0),
        3: (0, 0),
        4: (1, 0),
        6: (1, 1),
        9: (2, 1),
        11: (2, 1),
        12: (2, 2),
        99: (2, 2),
    }


def test_a_unit_without_a_level_keeps_its_next_coarser_one():
    problem = problem_of([[1, 3, 6, 9], [2, 5]], 99)
    for capacity, expected in ((3, (0, 0)), (5, (1, 0)), (8, (2, 0)), (11, (2, 1)), (14, (3, 1))):
        tight = replace(problem, capacity_bytes=capacity)
        assert equal_selection(tight, [[0.0, 1.0, 2.0, 3.0], [0.0, 2.0]]) == expected


@pytest.mark.parametrize("capacity", range(60, 1000, 94))
def test_no_finer_level_of_the_equal_selection_fits(network, make, capacity):
    bench, options = make(network, capacity_bytes=capacity)
    problem = bench.problem(capacity, 1)
    fineness = [row for o in options for row in o.fineness()]
    chosen = [row[i] for row, i in zip(fineness, problem.equal, strict=True)]
    finer = [level for row in fineness for level in row if level > max(chosen)]
    assert problem.fits(problem.equal)
    if finer:
        level = min(finer)
        raised = tuple(max(i for i, v in enumerate(row) if i == 0 or v <= level) for row in fineness)
        assert not problem.fits(raised)


@pytest.mark.parametrize("capacity", [150, 250, 400, 800])
def test_the_filling_step_fills_the_capacity_and_does_not_exceed_it(network, layers, capacity):
    names = [layer.name for layer in layers]
    step = filling_step(network, names, capacity)
    sizes = [EntropyCodec(step, spectral=True).encode(network.get_parameter(name)).size_bytes for name in names]
    # The stream of a layer grows by whole words of four bytes.
    assert capacity - 4 * len(names) - 0.01 * capacity <= sum(sizes) <= capacity


def test_a_smaller_capacity_has_a_larger_filling_step(network, layers):
    names = [layer.name for layer in layers]
    steps = [filling_step(network, names, capacity) for capacity in (60, 100, 200, 400, 800, 1600)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)


@pytest.mark.parametrize("capacity", [10**5, 10**9])
def test_a_capacity_beyond_all_need_is_answered_with_fine_steps_that_can_be_stored(network, make, capacity):
    bench, options = make(network, capacity_bytes=capacity)
    finest = all_units(options, lambda unit: len(unit.choices) - 1)
    assert 0 <= bench.loss(finest) < 1e-6
    for name, codec in bench.codecs(finest).items():
        weight = network.get_parameter(name)
        torch.testing.assert_close(decoded(codec.encode(weight)), weight, rtol=0, atol=codec.step)


@pytest.mark.parametrize("clusters", [0, 3])
def test_a_network_of_zeros_is_prepared_and_scored_too(network, make, clusters):
    for parameter in network.parameters():
        parameter.zero_()
    bench, options = make(network, clusters)
    assert bench.loss(all_units(options, lambda _: 0)) == 0


def test_traits_are_finite_numbers_of_order_one(network, make):
    _, options = make(network)
    traits = [unit.features for o in options for unit in o.units]
    assert len({len(row) for row in traits}) == 1
    assert all(math.isfinite(value) and abs(value) < 10 for row in traits for value in row)
    assert len(set(traits)) == len(traits)


def test_options_for_several_budgets_reach_from_the_smallest_to_the_largest_around_the_same_middle(
    network, layers, images
):
    low, high = 200, 700
    names = [layer.name for layer in layers]
    alone = prepare(network, layers, images, clusters=0, capacity_bytes=low)
    same = prepare(network, layers, images, clusters=0, capacity_bytes=low, largest_bytes=low)
    shared = prepare(network, layers, images, clusters=0, capacity_bytes=low, largest_bytes=high)
    octaves = step_octaves(fisher_information(network, names, images), names)
    finest = filling_step(network, names, high, octaves) / 4
    for name, one, again, all_of_them in zip(names, alone, same, shared, strict=True):
        assert one.codecs == again.codecs
        steps = [codec.step for codec in all_of_them.codecs]
        assert (
            1 / 1.2 < steps[-1] / (finest * 2 ** octaves[name]) < 1.2
        )  # choices that are no larger than coarser ones are left out
        assert all_of_them.middle == one.middle
        assert torch.equal(all_of_them.wanted, network.get_parameter(name))
