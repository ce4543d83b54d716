"""A run that was killed and goes on is the undisturbed run, bit for bit; nothing else is gone on from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from separable import Tracked, coarse_codecs, noisy_patterns, payload_bytes, small_network
from torch import nn

from ravn.errors import InputError, RavnError
from ravn.task import Task
from ravn.training import Recipe, Trained, train
from ravn.training.divergence import Place, check_state

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

    return Tracked(progress)


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


def test_the_checkpoint_of_a_run_with_other_images_is_refused(task: Task, tmp_path: Path) -> None:
    interrupted(task, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="is not a checkpoint of this run"):
        run(replace(task, unlabeled=noisy_patterns(64, 2)), tmp_path / "checkpoint.pt")


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_leaves_the_former_file(task: Task, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    interrupted(task, checkpoint)
    before = checkpoint.read_bytes()
    (tmp_path / "checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises(
        RavnError, match=r"the checkpoint .*checkpoint\.pt can't be written \(No space left on device\)"
    ):
        run(task, checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert checkpoint.read_bytes() == before
    assert_same(run(task, checkpoint), run(task, None))


class Shifted(nn.Module):
    """Adds a bias whose gradient is not a number in the second epoch."""

    backwards = 0

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        bias = self.bias * 1.0
        if bias.requires_grad:
            bias.register_hook(self._poisoned)
        return logits + bias

    @classmethod
    def _poisoned(cls, gradient: torch.Tensor) -> torch.Tensor:
        cls.backwards += 1
        return gradient * (torch.nan if cls.backwards > 10 else 1.0)


def test_a_bad_gradient_of_a_bias_leaves_the_checkpoint_of_the_epoch_before(task: Task, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    shifted = replace(task, model=nn.Sequential(task.model, Shifted()).eval())
    # An epoch takes eight batches: the eleventh is the third of the second.
    with pytest.raises(
        RavnError, match=r"gradient of '1.bias' became infinite or NaN in epoch 2, step 3; give a learn"
    ):
        run(shifted, checkpoint)
    left = torch.load(checkpoint, weights_only=True)
    assert len(json.loads(left["notes"])["curve"]) == 1
    assert all(torch.isfinite(tensor).all() for tensor in left["model"].values())


def test_what_is_not_finite_in_a_network_is_named() -> None:
    network, place = small_network(), Place(0, 7, 0.1)
    check_state(network, place)
    network[1].running_var[2] = torch.inf
    with pytest.raises(
        RavnError, match=r"'1.running_var' became infinite or NaN in epoch 1, step 8; give .* below 0.1"
    ):
        check_state(network, place)
