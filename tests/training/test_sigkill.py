"""SIGKILL at any moment, even in the middle of a write, costs at most the epoch that was running."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import pytest
import torch
from separable import Tracked

from ravn.training import Trained


@pytest.fixture(scope="module")
def undisturbed() -> Trained:
    return killed_run.run(None)


def kill_at_random(checkpoint: Path, chance: random.Random) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, killed_run.__file__, str(checkpoint)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        for _ in range(chance.randint(1, killed_run.EPOCHS // 2)):
            child.stdout.readline()
        time.sleep(chance.uniform(0, 0.06))
        child.kill()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(s, marks=pytest.mark.slow) for s in range(2, 22))])
def test_a_run_killed_at_a_random_time_ends_like_an_undisturbed_one(
    undisturbed: Trained, tmp_path: Path, seed: int
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    kill_at_random(checkpoint, random.Random(seed))
    resumed = checkpoint.exists()
    began: list[str] = []

    def noting(items, title, total):
        began.append(title)
        return items

    trained = killed_run.run(checkpoint, Tracked(noting))
    assert (len(began) < killed_run.EPOCHS) == resumed
    assert trained.curve == undisturbed.curve
    assert trained.codecs == undisturbed.codecs
    assert all(torch.equal(latent, undisturbed.latents[name]) for name, latent in trained.latents.items())
    state = undisturbed.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.model.state_dict().items())
