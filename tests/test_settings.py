"""Presets are what they promise, and only what the caller names is changed."""

from dataclasses import FrozenInstanceError, replace

import pytest

from ravn import InputError, Settings
from ravn.settings import PRESETS, preset


def test_the_paper_is_section_4_2() -> None:
    settings = preset("paper")
    recipe = settings.recipe
    assert settings.preset == "paper"
    assert settings.trade_off == 1.0
    assert (recipe.batch_size, recipe.learning_rate, recipe.weight_decay) == (64, 1e-3, 5e-4)
    assert (recipe.fidelity, recipe.labels, recipe.distillation) == (1.0, 1.0, 0.0)
    assert (recipe.rate(0.0), recipe.rate(1.0)) == (1.0, pytest.approx(0.1))


def test_the_default_neither_trains_nor_clusters() -> None:
    settings = preset("default")
    assert settings == Settings()
    assert (settings.recipe.epochs, settings.clusters) == (0, 0)


def test_the_long_preset_differs_in_how_weights_are_trained_alone() -> None:
    default, long = preset("default"), preset("long")
    assert replace(long, recipe=default.recipe, preset="default") == default
    assert long.recipe.batch_statistics
    assert long.recipe.epochs >= 20
    assert long.recipe.peak(1.0, 1_000) == default.recipe.peak(1.0, 1_000)
    assert long.recipe.peak(1.0, 10_000) > default.recipe.peak(1.0, 10_000)


@pytest.mark.parametrize("name", PRESETS)
def test_only_what_is_named_is_changed(name: str) -> None:
    chosen = preset(name)
    assert chosen.preset == name
    changed = preset(name, epochs=0, seed=7, device="meta")
    assert changed == replace(chosen, recipe=replace(chosen.recipe, epochs=0), seed=7, device="meta")
    assert preset(name, epochs=3).recipe == replace(chosen.recipe, epochs=3)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="there is no preset 'best'; there are default, paper, long"):
        preset("best")


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        preset("paper").seed = 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mixing": 1.5}, "a share of mixing = 1.5; give one from 0 to 1"),
        ({"mixing": -0.1}, "a share of mixing = -0.1; give"),
        ({"temperature": 0.0}, "at temperature = 0.0; give one above 0, or infinity"),
        ({"temperature": float("nan")}, "at temperature = nan; give"),
    ],
)
def test_impossible_scoring_is_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(Settings(), **changed)
