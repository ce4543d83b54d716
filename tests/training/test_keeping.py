"""What is decided once is decided: a run that goes on neither searches nor rounds nor tries again."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ravn import finetuning, pipeline, stages
from ravn.allocators import allocator_from_name
from ravn.errors import InputError
from ravn.keeping import KEPT, kept
from ravn.pipeline import Compressed, compress
from ravn.plan import Budget
from ravn.settings import Settings
from ravn.task import Task
from ravn.training import Recipe

SETTINGS = Settings(
    calibration_images=32,
    search_images=32,
    holdout_images=32,
    evaluations=20,
    recipe=Recipe(epochs=4, batch_size=32, refit_every=4),
)


class StoppedError(Exception):
    """Stands for whatever kills a run."""


def stop(*_: object, **__: object) -> None:
    raise StoppedError


def compressed(task: Task, folder: Path | None, chosen: Settings = SETTINGS, size: int = 900) -> Compressed:
    decider = allocator_from_name("ppo", chosen.seed)
    return compress(task, Budget(size_bytes=size), decider, chosen, folder=folder)


@pytest.fixture(scope="module")
def begun(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed as its training began."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "fine_tune", stop)
        with pytest.raises(StoppedError):
            compressed(task, folder)
    return folder


def test_a_run_goes_on_with_what_it_had_decided(task: Task, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compressed(task, None)
    for name in ("best_of", "refined"):
        monkeypatch.setattr(stages, name, stop)
    monkeypatch.setattr(pipeline, "decide", stop)
    monkeypatch.setattr(finetuning, "most_trainable", stop)
    again = compressed(replace(task, model=copy.deepcopy(task.model)), begun)
    assert (again.data, again.plan, again.policy) == (whole.data, whole.plan, whole.policy)
    told, expected = ({**vars(r.result), "seconds": set(r.result.seconds), "rows": ()} for r in (again, whole))
    assert told == expected


def test_another_run_is_refused(task: Task, begun: Path) -> None:
    other = copy.deepcopy(task.model)
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 1e-3
    sentence = rf"{KEPT} doesn't hold what this run decided; delete it to decide anew"
    for call in (
        lambda: compressed(replace(task, model=other), begun),
        lambda: compressed(task, begun, replace(SETTINGS, seed=1)),
        lambda: compressed(task, begun, replace(SETTINGS, recipe=replace(SETTINGS.recipe, epochs=5))),
        lambda: compressed(task, begun, size=950),
    ):
        with pytest.raises(InputError, match=sentence):
            call()


def test_where_it_computes_is_free(task: Task, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "decide", stop)
    elsewhere = replace(SETTINGS, recipe=replace(SETTINGS.recipe, compiled=True))
    monkeypatch.setattr(finetuning, "fine_tune", stop)
    with pytest.raises(StoppedError):
        compressed(task, begun, elsewhere)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_broken_file_is_refused(task: Task, begun: Path, data: st.DataObject) -> None:
    whole = (begun / KEPT).read_bytes()
    run = json.loads(torch.load(begun / KEPT, weights_only=True)["notes"])["run"]
    assert kept(whole, task.model, run, source="f").untrained.encoded
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError, match="f doesn't hold what this run decided"):
        kept(whole[:end], task.model, run, source="f")
