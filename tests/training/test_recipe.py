"""Recipes that can't work are refused in one sentence, before anything is trained."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.errors import InputError
from ravn.settings import PAPER
from ravn.training import Recipe
from ravn.training.from_scratch import FloatRecipe

REFUSED = [
    ({"epochs": -1}, "epochs = -1 can't be trained; give a whole number of at least 0"),
    ({"epochs": 1.5}, "epochs = 1.5 can't be trained; give a whole number"),
    ({"batch_size": 0}, "batch_size = 0 can't be trained; give a whole number of at least 1"),
    ({"accumulate": 0}, "accumulate = 0"),
    ({"refit_every": 0}, "refit_every = 0"),
    ({"full_rate_steps": 0}, "full_rate_steps = 0"),
    ({"learning_rate": -1e-3}, "learning_rate = -0.001 can't be trained; give a number of at least 0"),
    ({"learning_rate": math.nan}, "learning_rate = nan"),
    ({"learning_rate": math.inf}, "learning_rate = inf"),
    ({"learning_rate": "fast"}, "learning_rate = 'fast'"),
    ({"other_rate": -1.0}, "other_rate = -1.0"),
    ({"weight_decay": -1.0}, "weight_decay = -1.0"),
    ({"decay_per_bit": 0.0}, "decay_per_bit = 0.0"),
    ({"temperature": 0.0}, "temperature = 0.0"),
    ({"mixing": 1.5}, "mixing = 1.5 can't be trained; give a number from 0 to 1"),
    ({"warmup": -0.1}, "warmup = -0.1"),
    ({"final_rate": 2.0}, "final_rate = 2.0"),
    ({"labels": -0.3}, "labels = -0.3"),
    ({"distance": "l7"}, "no distance 'l7'; there are l2, l1, cosine, ssim, cka"),
    ({"accumulate": 200}, "a batch of 128 can't be computed in 200 parts; give accumulate = 128 or less"),
    ({"distillation": 0.0}, "minimises nothing; give one of them"),
    ({"distillation": 0.0, "fidelity": 1.0, "dual_rate": 0.1}, "dual_rate of 0.1 moves lambda .* give distillation"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED, ids=str)
def test_an_impossible_recipe_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as refusal:
        Recipe(**change)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch_size": 0}, {"momentum": -0.1}, {"label_smoothing": 2.0}, {"averaging": math.nan}]
)
def test_an_impossible_float_recipe_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} = .* can't be trained; give a"):
        FloatRecipe(**change)


def test_the_presets_and_their_neighbours_can_be_trained() -> None:
    assert replace(PAPER.recipe, epochs=0, batch_statistics=False).fidelity == 1.0
    assert Recipe(dual_rate=0.1, fidelity=1.0).distillation == 1.0
    assert FloatRecipe(momentum=0.0).rate(1.0) == pytest.approx(0.0)


@given(
    steps=st.integers(1, 10**6),
    more=st.integers(2, 50),
    bits=st.floats(0.1, 8.0),
    full=st.integers(1, 10**5),
)
@settings(derandomize=True, deadline=None)
def test_a_random_walk_at_the_peak_rate_goes_no_further_in_a_longer_training(steps, more, bits, full) -> None:
    recipe = Recipe(full_rate_steps=full)
    once, longer = recipe.peak(bits, steps), recipe.peak(bits, steps * more)
    assert longer <= once
    reach = longer * math.sqrt(steps * more)
    assert reach <= once * math.sqrt(max(steps, min(full, steps * more))) * (1 + 1e-9)
    if steps * more <= full:
        assert longer == once == pytest.approx(recipe.learning_rate * recipe.decay_per_bit ** (bits - 1))


def test_the_preset_of_the_paper_keeps_its_rate_however_long_the_training() -> None:
    assert PAPER.recipe.peak(4.4, 10**6) == PAPER.recipe.learning_rate
