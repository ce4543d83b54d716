"""Compiled training does the same; a network that can't be compiled says so in one sentence."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from separable import coarse_codecs

from ravn.errors import InputError, RavnError
from ravn.settings import PAPER
from ravn.task import Task
from ravn.training import Recipe, Trained, processes, train

RECIPE = Recipe(epochs=1, batch_size=64, mixed_precision=False, compiled=True)


def trained(task: Task, recipe: Recipe) -> Trained:
    return train(task, task.model, coarse_codecs(task.model), 150, recipe=recipe)


def test_a_traced_training_is_the_plain_one(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(task, replace(RECIPE, compiled=False))
    # Traced, but run by torch as always: no compiler is needed, and none rounds otherwise.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    traced = trained(task, RECIPE)
    assert traced.curve[0] == pytest.approx(plain.curve[0])
    assert all(torch.allclose(latent, plain.latents[name]) for name, latent in traced.latents.items())


def test_a_compiler_that_fails_is_one_sentence(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=failing))
    with pytest.raises(RavnError, match=r"Sequential can't be compiled here \(.*\); leave --compile out, or install"):
        trained(task, RECIPE)


def test_what_can_not_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"fidelity of 1.0 looks into the network.*; leave --compile out"):
        replace(PAPER.recipe, compiled=True)
    monkeypatch.setattr(processes, "count", lambda: 2)
    processes.ensure_compilable(compiled=True, batch_statistics=False)
    with pytest.raises(InputError, match="among 2 processes; leave --compile out"):
        processes.ensure_compilable(compiled=True, batch_statistics=True)
