"""A run that was killed and goes on is the undisturbed run, bit for bit; nothing else is gone on from."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from separable import coarse_codecs, payload_bytes, small_network
from torch import nn

from ravn.errors import InputError
from ravn.task import Task
from ravn.training import Recipe, Trained, train
from ravn.training.checkpoint import write_state

RECIPE = Recipe(epochs=4, batch_size=32, learning_rate=3e-3, refit_every=3)


class KilledError(Exception):
    """Stands for whatever ends a run."""


def run(task: Task, checkpoint: Path | None, *, recipe: Recipe = RECIPE, seed: int = 0, share: float = 0.6, **options):
    """Steps must shrink the bytes to a share of the start's: fits still move them in every epoch."""
    codecs = coarse_codecs(task.model, 1.0)
    capacity = round(share * payload_bytes(task.model, codecs))
    return train(task, task.model, codecs, capacity, recipe=recipe, seed=seed, checkpoint=checkpoint, **options)


def killing(epoch: int, batches: int):
    """A progress that ends the run in this epoch, after so many batches."""

    def progress(items, title, total):
        for number, item in enumerate(items):
            if title.startswith(f"epoch {epoch}/") and number == batches:
                raise KilledError
            yield item

    return progress


def interrupted(task: Task, checkpoint: Path, epoch: int = 2, batches: int = 1) -> None:
    with pytest.raises(KilledError):
        run(task, checkpoint, progress=killing(epoch, batches))


def assert_same(first: Trained, second: Trained) -> None:
    assert first.curve == second.curve
    assert first.codecs == second.codecs
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert all(torch.equal(value, second.latents[name]) for name, value in first.latents.items())


@pytest.mark.parametrize(("epoch", "batches"), [(1, 2), (2, 0), (2, 5), (4, 7)])
def test_a_killed_run_goes_on_as_if_nothing_had_been(task: Task, tmp_path: Path, epoch: int, batches: int) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    interrupted(task, checkpoint, epoch, batches)
    assert checkpoint.exists() == (epoch > 1)
    assert_same(run(task, checkpoint), run(task, None))
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_finished_run_trains_no_more(task: Task, tmp_path: Path) -> None:
    finished = run(task, tmp_path / "checkpoint.pt")
    assert_same(run(task, tmp_path / "checkpoint.pt", progress=killing(1, 0)), finished)


@pytest.mark.parametrize("change", [{"seed": 1}, {"share": 0.5}, {"recipe": replace(RECIPE, epochs=5)}], ids=str)
def test_the_checkpoint_of_another_run_is_refused(task: Task, tmp_path: Path, change: dict[str, object]) -> None:
    interrupted(task, tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match="is not a checkpoint of this run; delete it"):
        run(task, tmp_path / "checkpoint.pt", **change)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_checkpoint_of_another_network_is_refused(task: Task, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    wider = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 4))
    codecs = coarse_codecs(wider)
    train(replace(task, model=wider), wider, codecs, 100, recipe=RECIPE, checkpoint=checkpoint)
    codecs = coarse_codecs(task.model)
    with pytest.raises(InputError, match="checkpoint"):
        train(task, task.model, codecs, 100, recipe=RECIPE, checkpoint=checkpoint)


def test_the_checkpoint_of_another_plan_is_refused(task: Task, tmp_path: Path) -> None:
    checkpoint, codecs = tmp_path / "checkpoint.pt", coarse_codecs(task.model)
    train(task, task.model, codecs, 100, recipe=RECIPE, checkpoint=checkpoint)
    for other in ({"6.weight": codecs["6.weight"]}, codecs | {"6.weight": codecs["0.weight"]}):
        with pytest.raises(InputError, match="checkpoint"):
            train(task, task.model, other, 100, recipe=RECIPE, checkpoint=checkpoint)


def test_broken_and_foreign_files_are_refused(task: Task, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    interrupted(task, checkpoint)
    whole = checkpoint.read_bytes()
    torch.save(small_network().state_dict(), checkpoint)
    foreign = [checkpoint.read_bytes()]
    torch.save(torch.zeros(3), checkpoint)
    foreign.append(checkpoint.read_bytes())
    torch.save({"notes": KilledError}, checkpoint)
    foreign.append(checkpoint.read_bytes())
    for broken in [b"", b"garbage", b"PK\x03\x04", whole[:-1], whole[: len(whole) // 2], *foreign]:
        checkpoint.write_bytes(broken)
        with pytest.raises(InputError, match=r"checkpoint\.pt is not a checkpoint"):
            run(task, checkpoint)


def test_an_interrupted_write_leaves_the_former_file(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    interrupted(task, checkpoint)
    before, write = checkpoint.read_bytes(), Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="no space"):
            run(task, checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert checkpoint.read_bytes() == before
    assert_same(run(task, checkpoint), run(task, None))


def test_a_checkpoint_that_does_not_fit_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint-1.pt"
    write_state(path, {"epoch": torch.tensor(1)})
    former = path.read_bytes()

    def full(self: Path, data: bytes) -> None:
        self.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_state(path, nn.Linear(2, 2).state_dict())
    assert caught.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == former
