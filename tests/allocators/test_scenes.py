"""Windows as arrays against plain loops over their plans."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cascade import cascade
from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.allocators.problem import Problem
from ravn.allocators.scenes import Scene, Window, improvements
from ravn.allocators.selections import Table, distortions, table_of
from ravn.errors import InputError

quick = settings(deadline=None, derandomize=True, max_examples=40)
seeds, radii = st.integers(0, 10**6), st.integers(0, 3)
COUNTS = (5, 1, 3, 4)


def ragged(seed: int) -> tuple[Problem, Table]:
    """Four units of one to five choices, at sensitivities that are drawn."""
    problem = cascade(len(COUNTS), max(COUNTS), seed=seed)
    units = tuple(replace(u, choices=u.choices[:n]) for u, n in zip(problem.units, COUNTS, strict=True))
    problem = replace(problem, units=units, equal=(0,) * len(units))
    luck = np.random.default_rng(seed).uniform(0.5, 2.0, len(units))
    return problem, table_of(problem, [[f * d for d in row] for f, row in zip(luck, distortions(problem), strict=True)])


def windows_of(problem: Problem, seed: int, radius: int, count: int = 3) -> list[Window]:
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        plan = tuple(int(generator.integers(n)) for n in COUNTS)
        spare = int(generator.integers(0, 500))
        found.append(Window(plan, 0.5 + number, radius, problem.size_bytes(plan) + spare))
    return found


@given(seeds, radii)
@quick
def test_every_action_is_a_step_from_the_incumbent(seed: int, radius: int) -> None:
    problem, table = ragged(seed)
    windows = windows_of(problem, seed, radius)
    scene = Scene(problem, table, windows)
    for w, window in enumerate(windows):
        total = table.value(window.incumbent)
        assert scene.totals[w] == pytest.approx(total)
        for u, here in enumerate(window.incumbent):
            for action in range(2 * radius + 1):
                there = here + action - radius
                assert scene.inside[w, u, action] == (0 <= there < COUNTS[u])
                if scene.inside[w, u, action]:
                    moved = [*window.incumbent[:u], there, *window.incumbent[u + 1 :]]
                    assert scene.choices[w, u, action] == there
                    assert scene.sizes[w, u, action] == problem.units[u].choices[there].size_bytes
                    gain = (total - table.value(tuple(moved))) / total
                    assert scene.gains[w, u, action] == pytest.approx(np.clip(gain, -1, 1), abs=1e-9)


@given(seeds, radii)
@quick
def test_the_rest_is_what_the_cheapest_plan_of_the_window_takes(seed: int, radius: int) -> None:
    problem, table = ragged(seed)
    windows = windows_of(problem, seed, radius)
    scene = Scene(problem, table, windows)
    for w, window in enumerate(windows):
        near = [
            range(max(here - radius, 0), min(here + radius, n - 1) + 1)
            for here, n in zip(window.incumbent, COUNTS, strict=True)
        ]
        sizes = [[c.size_bytes for c in unit.choices] for unit in problem.units]
        for u in range(len(COUNTS) + 1):
            tails = itertools.product(*near[u:])
            least = min(sum(row[i] for row, i in zip(sizes[u:], tail, strict=True)) for tail in tails)
            assert scene.rest[w, u] == least
            assert scene.wanted[w, u] == sum(row[i] for row, i in zip(sizes[u:], window.incumbent[u:], strict=True))


@given(seeds, radii)
@quick
def test_windows_do_not_see_one_another(seed: int, radius: int) -> None:
    problem, table = ragged(seed)
    windows = windows_of(problem, seed, radius)
    together = Scene(problem, table, windows)
    for w, window in enumerate(windows):
        alone = Scene(problem, table, [window])
        for name in ("capacities", "losses", "choices", "inside", "sizes", "totals", "shares", "gains", "rest"):
            assert np.array_equal(getattr(together, name)[w], getattr(alone, name)[0]), name


@given(seeds, st.floats(1e-3, 1e3))
@quick
def test_shares_and_gains_have_no_unit_and_shares_sum_to_one(seed: int, factor: float) -> None:
    problem, table = ragged(seed)
    windows = windows_of(problem, seed, 2)
    scene, scaled = (Scene(problem, Table(table.values * f, table.sizes), windows) for f in (1.0, factor))
    assert scene.shares.sum(1) == pytest.approx(np.ones(len(windows)))
    assert scaled.shares == pytest.approx(scene.shares)
    assert scaled.gains == pytest.approx(scene.gains)
    assert scaled.totals == pytest.approx(factor * scene.totals)


def test_an_incumbent_that_exceeds_its_own_capacity_is_refused_with_both_sizes() -> None:
    problem, table = ragged(0)
    plan = (1, 0, 1, 1)
    size = problem.size_bytes(plan)
    assert Scene(problem, table, [Window(plan, 1.0, 1, size)]).capacities.tolist() == [size]
    sentence = f"the incumbent takes {size} bytes; give a plan of at most {size - 1}"
    with pytest.raises(InputError, match=sentence):
        Scene(problem, table, [Window(plan, 1.0, 1, size), Window(plan, 1.0, 1, size - 1)])
    with pytest.raises(InputError, match=f"at most {size - 1}"):
        Scene(replace(problem, capacity_bytes=size - 1), table, [Window(plan, 1.0, 1)])


@given(st.floats(1e-6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(1e-3, 1e3))
@quick
def test_improvements_have_no_unit_and_fall_with_the_loss(before: float, after: list[float], factor: float) -> None:
    losses = np.sort(np.array(after))
    found = improvements(before, losses)
    assert (np.diff(found) <= 0).all()
    assert ((found > 0) == (losses < before)).all() or np.abs(found).min() < 1e-9
    assert improvements(factor * before, factor * losses) == pytest.approx(found, abs=1e-9)
