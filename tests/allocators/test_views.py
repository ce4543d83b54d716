"""What a policy sees: which changes of a network it can tell, and which it can't."""

from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators.episodes import Episodes
from ravn.allocators.problem import Choice, Problem, Unit
from ravn.allocators.scenes import Scene, Window
from ravn.allocators.selections import Table, distortions, table_of
from ravn.allocators.views import LIMIT, Described, Moment, Named

UNITS, CHOICES, RADIUS = 5, 6, 2
quick = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 10**6)


def scene_of(problem: Problem, table: Table, seed: int, count: int = 2, factor: int = 1) -> Scene:
    generator = np.random.default_rng(seed)
    plans = [tuple(generator.integers(CHOICES, size=UNITS).tolist()) for _ in range(2 * count)]
    marks = list(zip(plans[::2], plans[1::2], strict=True))
    capacity = factor * 10**5
    return Scene(problem, table, [Window(plan, 1.0, RADIUS, capacity, (mark,)) for plan, mark in marks])


def measured(seed: int) -> tuple[Problem, Table]:
    problem = cascade(UNITS, CHOICES, seed=seed)
    luck = np.random.default_rng(seed).uniform(0.5, 2.0, (UNITS, 1))
    return problem, table_of(problem, (luck * np.array(distortions(problem))).tolist())


def larger(unit: Unit, factor: int) -> Unit:
    choices = tuple(Choice(c.bits, factor * c.size_bytes, c.distortion) for c in unit.choices)
    return replace(unit, weights=factor * unit.weights, choices=choices)


@given(seeds, st.integers(2, 50))
@quick
def test_a_described_network_looks_like_one_so_many_times_as_large(seed: int, factor: int) -> None:
    problem, table = measured(seed)
    seen = Described(1).described(problem, scene_of(problem, table, seed))
    bigger = replace(problem, units=tuple(larger(unit, factor) for unit in problem.units))
    scene = scene_of(bigger, Table(table.values, factor * table.sizes), seed, factor=factor)
    assert Described(1).described(bigger, scene) == pytest.approx(seen)


@given(seeds, st.floats(1e-2, 1e2))
@quick
def test_louder_losses_are_seen_as_one_number_alone(seed: int, factor: float) -> None:
    problem, table = measured(seed)
    quiet, loud = (
        Described(1).described(problem, scene_of(problem, Table(f * table.values, table.sizes), seed))
        for f in (1.0, factor)
    )
    damage = len(problem.units[0].features) + 2
    assert loud[:, :, damage] - quiet[:, :, damage] == pytest.approx(np.full(quiet.shape[:2], np.log10(factor) / 2))
    assert np.delete(loud, damage, 2) == pytest.approx(np.delete(quiet, damage, 2))


@given(seeds, st.permutations(range(UNITS)))
@quick
def test_described_units_are_told_by_their_traits_and_not_by_their_place(seed: int, order: list[int]) -> None:
    problem, table = measured(seed)
    scene = scene_of(problem, table, seed)
    seen = Described(1).described(problem, scene)
    moved = replace(problem, units=tuple(problem.units[u] for u in order))
    windows = [
        replace(w, incumbent=tuple(w.incumbent[u] for u in order), landmarks=(tuple(w.landmarks[0][u] for u in order),))
        for w in scene.windows
    ]
    other = Scene(moved, Table(table.values[order], table.sizes[order]), windows)
    assert Described(1).described(moved, other) == pytest.approx(seen[:, order])


@given(seeds)
@quick
def test_the_distance_to_a_landmark_is_counted_in_steps_and_vanishes_at_it(seed: int) -> None:
    problem, table = measured(seed)
    scene = scene_of(problem, table, seed)
    column = len(problem.units[0].features) + 6
    seen = Described(1).described(problem, scene)[:, :, column]
    for w, window in enumerate(scene.windows):
        steps = [mark - here for mark, here in zip(window.landmarks[0], window.incumbent, strict=True)]
        assert (4 * seen[w]).tolist() == steps
    there = [replace(w, incumbent=w.landmarks[0]) for w in scene.windows]
    assert not Described(1).described(problem, Scene(problem, table, there))[:, :, column].any()


@pytest.mark.parametrize("view", [Named(), Described(1)], ids=["named", "described"])
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_observations_have_their_width_are_finite_and_of_order_one(view: Named | Described, radius: int) -> None:
    problem, table = measured(3)
    windows = [replace(w, radius=radius) for w in scene_of(problem, table, 3).windows]
    episodes = Episodes(problem, table, windows, 5, view)
    while True:
        seen = episodes.observations()
        assert seen.shape == (5, episodes.width) == (5, view.width(problem, 2 * radius + 1))
        assert seen.dtype == np.float32
        assert np.abs(seen).max() <= LIMIT
        if episodes.done:
            break
        episodes.decide(np.full(5, radius))


def test_named_units_are_one_hot_and_their_shares_of_the_weights_sum_to_one() -> None:
    problem, table = measured(0)
    seen = Named().described(problem, scene_of(problem, table, 0))
    assert np.array_equal(seen[0, :, :UNITS], np.eye(UNITS))
    assert seen[0, :, -1].sum() == pytest.approx(1)
    assert np.array_equal(seen[0], seen[1])


@given(seeds, st.integers(0, UNITS))
@quick
def test_what_is_left_is_what_staying_with_the_incumbent_would_leave(seed: int, unit: int) -> None:
    problem, table = measured(seed)
    scene = scene_of(problem, table, seed)
    window = np.array([1, 0, 1])
    spent = [sum(table.sizes[u, scene.windows[w].incumbent[u]] for u in range(unit)) for w in window]
    other = np.array([0, 7, -11])
    moment = Moment(unit, window, np.array(spent) + other, np.zeros(3), np.ones((3, 2 * RADIUS + 1), bool))
    whole = [problem.size_bytes(scene.windows[w].incumbent) for w in window]
    expected = [10 * (10**5 - size - o) / 10**5 for size, o in zip(whole, other, strict=True)]
    assert moment.left(scene) == pytest.approx(np.array(expected))
