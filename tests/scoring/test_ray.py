"""On a real Ray cluster: the same search with any number of workers, whatever dies, wherever the cluster is."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor, nn

from ravn.allocators import Allocation, Allocator, LocalSearchAllocator, PPOAllocator
from ravn.plan import Layer
from ravn.progress import Silent
from ravn.scoring import Judge, Workbench, connected, prepare
from ravn.settings import Settings
from ravn.stages import search

pytest.importorskip("ray", reason="needs ravn[ray]")

CAPACITY = 600
SETTINGS = Settings(evaluations=40)
SMALL_PPO = PPOAllocator(0, rounds=3, episodes=8, rollouts=1, epochs=1, batch=32)
ALLOCATORS = [LocalSearchAllocator(1), SMALL_PPO]


class Fuse(nn.Module):
    """Kills the process that it runs in, unless this is the one where it was made, at some passes; each time once.

    Args:
        folder: what remembers that a fuse has blown.
        passes: the passes, counted in every process.
    """

    def __init__(self, folder: Path, passes: tuple[int, ...]) -> None:
        super().__init__()
        self.folder, self.passes, self.count, self.home = folder, passes, 0, os.getpid()

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        spent = self.folder / str(self.count)
        if os.getpid() != self.home and self.count in self.passes and not spent.exists():
            spent.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return images


class Told(Silent):
    """Remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)


@pytest.fixture(scope="module")
def two() -> Iterator[None]:
    """A local cluster of two processors."""
    with connected(2):
        yield


@pytest.fixture
def bench(network: nn.Module, layers: list[Layer], images: list[Tensor], other_images: list[Tensor]) -> Workbench:
    return bench_of(network, layers, images, other_images)


def bench_of(network: nn.Module, layers: list[Layer], images: list[Tensor], other_images: list[Tensor]) -> Workbench:
    names = [layer.name for layer in layers]
    judges = Judge(network, names, images), Judge(network, names, other_images)
    return Workbench(network, layers, prepare(network, layers, images, clusters=0, capacity_bytes=CAPACITY), *judges)


def searched(
    bench: Workbench, allocator: Allocator, workers: int | None, log: Path, progress: Told | None = None
) -> tuple[Allocation, str]:
    """The plan, and the log of evaluations."""
    settings = replace(SETTINGS, workers=workers)
    (found,), _ = search(bench, allocator, [CAPACITY], settings=settings, log=log, progress=progress or Told())
    return found, log.read_text()


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=lambda a: a.name)
def test_the_plan_and_the_log_are_the_same_with_no_one_and_two_workers(allocator, bench, two, tmp_path) -> None:
    alone, one, both = (searched(bench, allocator, n, tmp_path / str(n)) for n in (None, 1, 2))
    assert alone == one == both
    assert alone[0].evaluations == len(alone[1].splitlines()) - 1 > 15


def test_one_search_for_several_budgets_is_the_same_with_two_workers(bench, two, tmp_path) -> None:
    found = []
    for workers in (None, 2):
        settings, log = replace(SETTINGS, workers=workers), tmp_path / str(workers)
        plans, _ = search(bench, SMALL_PPO, [CAPACITY, 2 * CAPACITY], settings=settings, log=log, progress=Told())
        found.append((plans, log.read_text()))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    network, layers, images, other_images, two, tmp_path
) -> None:
    alone = searched(bench_of(network, layers, images, other_images), SMALL_PPO, None, tmp_path / "alone")
    (tmp_path / "blown").mkdir()
    # A plan takes two passes, one for each batch.
    fused = nn.Sequential(*network, Fuse(tmp_path / "blown", (7, 16)))
    bench, told = bench_of(fused, layers, images, other_images), Told()
    for fuse in bench._network.modules():
        if isinstance(fuse, Fuse):
            fuse.count = 0
    assert searched(bench, SMALL_PPO, 2, tmp_path / "log", told) == alone
    assert {path.name for path in (tmp_path / "blown").iterdir()} == {"7", "16"}
    assert told.stages == ["a worker of the search died; another takes its place, and nothing is lost"] * 2


def test_a_search_that_was_cut_off_goes_on_from_its_log_with_other_workers(bench, two, tmp_path) -> None:
    whole = searched(bench, SMALL_PPO, None, tmp_path / "whole")
    lines = whole[1].splitlines(keepends=True)
    (tmp_path / "cut").write_text("".join(lines[:12]) + lines[12][:9])
    assert searched(bench, SMALL_PPO, 2, tmp_path / "cut") == whole


def test_the_command_writes_the_same_file_and_ray_says_nothing(weights: Path, tmp_path: Path, ravn) -> None:
    words = ["compress", "--model", "digits:resnet8", "--weights", weights, "--data", "digits", "--epochs", "0"]
    words += ["--evaluations", "12", "--bits", "2.0", "--arm", "aq", "--out"]
    code, table, _ = ravn(*words, tmp_path / "alone")
    assert code == 0
    command = [sys.executable, "-W", "error", "-m", "ravn", *map(str, words), str(tmp_path / "two"), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("model.ravn", "plan.json", "search-1.jsonl"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert _without_times(done.stdout) == _without_times(table.replace("alone", "two"))
    stages = ["deciding bits", "rounding with error compensation", "measuring the file"]
    assert [line for line in done.stderr.splitlines() if "none of its plans beats" not in line] == stages
    # The workers are no part of the result: a run that is finished may be resumed without them.
    assert ravn(*words, tmp_path / "two", "--resume")[0] == 0


def _without_times(table: str) -> list[str]:
    return [re.sub(r"[\d.]+ m?s\b|\d+ min \d+ s", "", line).split() for line in table.splitlines()]
