"""Options made before a search: steps that fill the budgets, rounded as in the file."""

import copy
import math

import pytest
import torch

from ravn.calibration import weight_moments
from ravn.codecs import EntropyCodec
from ravn.layers import set_weights
from ravn.scoring import prepare
from ravn.scoring.fisher import fisher_information, step_octaves
from ravn.scoring.options import step_exponents
from ravn.scoring.preparation import filling_step, shares


@pytest.mark.parametrize("capacities", [[400], [200, 700], [200, 400, 900]])
def test_steps_make_good_the_errors_of_the_equal_plan_of_the_budget_next_to_them(network, layers, images, capacities):
    options = prepare(network, layers, images, clusters=0, capacities=capacities)
    by_name = {layer.name: option for layer, option in zip(layers, options, strict=True)}
    assert all(len(option.wanted) == len(option.budgets) for option in options)
    for budget, octaves in enumerate(options[0].budgets):
        quantized, corrected = copy.deepcopy(network), 0
        for name, moments in weight_moments(quantized, network, list(by_name), images):
            weight, option = network.get_parameter(name).detach(), by_name[name]
            wanted = option.wanted[budget]
            assert torch.allclose(wanted.flatten(1), moments.target(weight.flatten(1)), atol=1e-6)
            corrected += not torch.allclose(wanted, weight, atol=1e-4)
            away = [abs(math.log2(codec.step / option.middle) + octaves) for codec in option.codecs]
            equal = option.equal_weight(budget)
            places = [i for i in range(len(away)) if torch.equal(equal, option.weight((i,)))]
            assert away[places[0]] == pytest.approx(min(away), abs=1e-6)
            set_weights(quantized, [(name, equal)])
        assert corrected == len(layers) - 1


@pytest.mark.parametrize("octaves", [[0.0], [0.0, 1.0], [0.0, 0.01, 0.02, 2.3], [0.0, 0.3, 1.7, 4.4]])
def test_every_step_on_offer_is_of_the_budget_nearest_to_it(octaves):
    found = shares(octaves)
    exponents = [exponent for row in found.values() for exponent in row]
    assert exponents == sorted(exponents, reverse=True)
    assert set(exponents) == set(step_exponents(octaves[-1]))
    assert set(found) <= set(octaves)
    for budget, row in found.items():
        assert row
        assert all(abs(budget + e) == min(abs(other + e) for other in octaves) for e in row)


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


def test_options_for_several_budgets_reach_from_the_smallest_to_the_largest_around_the_same_middle(
    network, layers, images
):
    low, high = 200, 700
    names = [layer.name for layer in layers]
    alone = prepare(network, layers, images, clusters=0, capacities=[low])
    same = prepare(network, layers, images, clusters=0, capacities=[low, low])
    shared = prepare(network, layers, images, clusters=0, capacities=[high, low])
    octaves = step_octaves(fisher_information(network, names, images), names)
    finest = filling_step(network, names, high, octaves) / 4
    for name, one, again, all_of_them in zip(names, alone, same, shared, strict=True):
        assert one.codecs == again.codecs
        steps = [codec.step for codec in all_of_them.codecs]
        assert (
            1 / 1.2 < steps[-1] / (finest * 2 ** octaves[name]) < 1.2
        )  # choices that are no larger than coarser ones are left out
        assert all_of_them.middle == one.middle
        sizes = [choice.size_bytes for choice in all_of_them.units[0].choices]
        assert sizes == sorted(set(sizes))
