"""Two processes that train together end where one does alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shared_run
import torch

from ravn.training import processes


def launched(folder: Path) -> None:
    """Run two processes as a launcher does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, shared_run.__file__, str(folder)], check=True, env=environment, capture_output=True)


def test_two_processes_end_where_one_does_and_agree_to_the_bit(tmp_path: Path) -> None:
    launched(tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = shared_run.run(None)
    assert first["curve"] == second["curve"]
    assert all(torch.equal(latent, second["latents"][name]) for name, latent in first["latents"].items())
    assert first["curve"][-1][1] == pytest.approx(alone.curve[-1][1], rel=0.05)
    for name, latent in alone.latents.items():
        error = torch.linalg.norm(first["latents"][name] - latent) / torch.linalg.norm(latent)
        assert error < 0.05, name


def test_alone_nothing_is_shared() -> None:
    batch = torch.arange(5)
    with processes.joined("cpu"):
        assert processes.count() == 1
        assert processes.is_first()
        assert processes.from_first("mine") == "mine"
        assert torch.equal(processes.share(batch), batch)
        processes.add_up([batch])
    assert torch.equal(batch, torch.arange(5))
