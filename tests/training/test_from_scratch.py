"""Float networks learn; a training that was killed ends like an undisturbed one, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import killed_training
import pytest
import torch
from separable import small_task
from torch import Tensor, nn

from ravn.errors import InputError, RavnError
from ravn.metrics import top1_accuracy
from ravn.training.from_scratch import FloatRecipe, train_from_scratch

QUICK = FloatRecipe(epochs=4, batch_size=64)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_separable_classes_are_told_apart(averaging: float) -> None:
    task = small_task()
    curve = train_from_scratch(task, replace(QUICK, averaging=averaging))
    assert len(curve) == QUICK.epochs
    assert curve[-1][2] == top1_accuracy(task.model, task.validation, task.transform) > 95
    assert curve[-1][1] < curve[0][1]
    assert not any(module.training for module in task.model.modules())


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [QUICK.rate(step / 100) for step in range(101)]
    assert rates[0] == 0 and rates[2] == 1 and rates[100] == pytest.approx(0)  # noqa: PT018
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_mean_of_the_weights_is_not_the_last_weights() -> None:
    last, mean = small_task(), small_task()
    train_from_scratch(last, QUICK)
    train_from_scratch(mean, replace(QUICK, averaging=0.9))
    assert not torch.equal(last.model.get_parameter("0.weight"), mean.model.get_parameter("0.weight"))


class Aliased(nn.Module):
    """A network whose parts go by two names each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.alias = network, network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_second_name_for_a_weight_changes_nothing(averaging: float) -> None:
    plain, aliased = small_task(), small_task()
    aliased = replace(aliased, model=Aliased(aliased.model))
    recipe = replace(QUICK, averaging=averaging)
    assert train_from_scratch(plain, recipe) == train_from_scratch(aliased, recipe)
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(aliased.model.network.state_dict()[name], tensor), name


def test_a_loss_that_is_not_finite_stops_the_training_with_one_sentence() -> None:
    with pytest.raises(
        RavnError, match=r"became (nan|inf|infinite or NaN).* in epoch 1, step \d+; give a learning rate below 1e\+30"
    ):
        train_from_scratch(small_task(), replace(QUICK, learning_rate=1e30, warmup=0.0))


def test_a_gradient_that_is_not_finite_names_its_layer() -> None:
    task = small_task()
    task.model.get_parameter("6.bias").register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(RavnError, match=r"gradient of '6.bias' became infinite or NaN in epoch 1, step 1; give"):
        train_from_scratch(task, QUICK)


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.checkpoint"
    train_from_scratch(small_task(), replace(QUICK, epochs=1), checkpoint=checkpoint)
    for seed, content in ((1, checkpoint.read_bytes()), (0, checkpoint.read_bytes()[:-99]), (0, b"no")):
        checkpoint.write_bytes(content)
        with pytest.raises(InputError, match="is not a checkpoint of this run; delete it"):
            train_from_scratch(small_task(), replace(QUICK, epochs=1), seed=seed, checkpoint=checkpoint)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 8))])
def test_a_training_killed_at_a_random_time_ends_like_an_undisturbed_one(tmp_path: Path, seed: int) -> None:
    checkpoint, chance = tmp_path / "c.checkpoint", random.Random(seed)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, killed_training.__file__, str(checkpoint)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        for _ in range(chance.randint(1, killed_training.RECIPE.epochs // 2)):
            child.stdout.readline()
        time.sleep(chance.uniform(0, 0.06))
        child.kill()
    assert child.returncode == -signal.SIGKILL
    told: list[str] = []
    model, curve = killed_training.run(checkpoint, told.append)
    assert len(told) < killed_training.RECIPE.epochs
    whole, whole_curve = killed_training.run(None)
    assert curve == whole_curve
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in model.state_dict().items())
