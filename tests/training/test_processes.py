"""Two processes that train together end where one does alone."""

import os
import subprocess
import sys

import pytest
import shared_run
import torch
from separable import coarse_codecs, small_task

from ravn.errors import InputError
from ravn.training import Recipe, processes, train
from ravn.training.from_scratch import FloatRecipe, train_from_scratch

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def launched(*command: str) -> subprocess.CompletedProcess[str]:
    """Run two processes as a launcher does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*LAUNCHER, *command], check=True, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, shared_run.Result], ...]:
    folder = tmp_path_factory.mktemp("together")
    launched(shared_run.__file__, str(folder))
    return tuple(torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2))


@pytest.mark.parametrize("kind", ["float", *shared_run.RECIPES])
def test_two_processes_end_where_one_does_and_agree_to_the_bit(
    together: tuple[dict[str, shared_run.Result], ...], kind: str
) -> None:
    first, second = (results[kind] for results in together)
    alone = shared_run.run(kind)
    assert first["curve"] == second["curve"]
    assert first["state"].keys() == second["state"].keys() == alone["state"].keys()
    assert all(torch.equal(tensor, second["state"][name]) for name, tensor in first["state"].items())
    assert first["curve"][-1][1] == pytest.approx(alone["curve"][-1][1], rel=0.05)
    for name, tensor in alone["state"].items():
        error = torch.linalg.norm(first["state"][name].float() - tensor.float())
        assert error <= 0.05 * torch.linalg.norm(tensor.float()) + 1e-6, name


def test_the_first_steps_of_two_processes_are_those_of_one_to_the_rounding(
    together: tuple[dict[str, shared_run.Result], ...],
) -> None:
    # Later ones are not: a weight on the edge between two levels goes the other way.
    first, alone = together[0]["float"]["curve"], shared_run.run("float")["curve"]
    assert first[0][1] == pytest.approx(alone[0][1], rel=1e-4)


def test_alone_nothing_is_shared() -> None:
    batch = torch.arange(5)
    with processes.joined("cpu"):
        assert processes.count() == 1
        assert processes.is_first()
        assert processes.from_first("mine") == processes.first_told("mine") == "mine"
        assert torch.equal(processes.share(batch), batch)
        processes.add_up([batch])
    assert torch.equal(batch, torch.arange(5))


@pytest.mark.parametrize(("batch_size", "smallest"), [(3, 3), (32, 1), (400, 3)])
def test_batches_too_small_for_the_processes_are_refused(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, smallest: int
) -> None:
    task = small_task()
    images = {3: 256, 32: 33, 400: 3}[batch_size]
    monkeypatch.setattr(processes, "count", lambda: 4)
    if smallest == 1:
        # One image is less than half a batch, and left out.
        processes.ensure_shareable(batch_size, images)
        return
    sentence = f"a batch of {smallest} images can't be shared among 4 processes; give a batch size of 8 or more"
    with pytest.raises(InputError, match=sentence):
        processes.ensure_shareable(batch_size, images)
    if images == 256:
        with pytest.raises(InputError, match=sentence):
            train(task, task.model, coarse_codecs(task.model), 100, recipe=Recipe(batch_size=3))
        with pytest.raises(InputError, match=sentence):
            train_from_scratch(task, FloatRecipe(batch_size=3))
