"""Plans scored by the processors of a Ray cluster (arXiv 1712.05889): the only file that knows Ray."""

import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch

from ravn.allocators.problem import Problem
from ravn.errors import InputError, MissingPackageError
from ravn.scoring.crew import Agency, Crew, Question, answer
from ravn.scoring.workbench import Workbench

Workers = int | str
"""How many processes on this machine, or the address of a cluster."""

MOST_WORKERS = 1024
ADDRESS = re.compile(r"auto|(ray://)?[^\s/]+:\d{1,5}")
CLIENT = "ray://"
KNOCK_SECONDS, ANSWER_SECONDS = 5.0, 40.0
"""How long a port may take to open, and a cluster behind it to let a program in."""

QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray would print its own obituaries between the lines of a command
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns
    "RAY_worker_niceness": "0",  # on a busy machine, Ray's 15 starves workers for whom the search waits
}
KNOCK = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
except BaseException as error:
    sys.exit(" ".join(str(error).split()))
"""
"""A program that finds out whether a cluster answers; in this process, Ray tries for minutes and may abort."""


@contextmanager
def connected(workers: Workers | None) -> Iterator[None]:
    """Have a Ray cluster at hand; where this process is connected to one already, that one.

    Args:
        workers: as in `Settings.workers`; None needs no cluster.

    Raises:
        InputError: it is neither a number nor an address, or no cluster answers there.
        MissingPackageError: Ray is not installed.
    """
    if workers is None:
        yield
        return
    count = _count(workers)
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    with TemporaryDirectory(prefix="ravn-", ignore_cleanup_errors=True) as scratch:
        try:
            _connect(ray, str(workers), count, scratch)
            yield
        finally:
            ray.shutdown()


@contextmanager
def hired(
    bench: Workbench, problem: Problem, workers: Workers | None, *, device: str, told: Callable[[str], None]
) -> Iterator[Problem]:
    """The problem of a workbench, with losses from workers.

    The workbench is sent once to every machine; afterwards plans go out and losses come back. A worker computes on one
    thread, and takes a GPU where the network is on one, so that losses don't depend on how many share a machine.

    Args:
        bench: what is sent to the workers.
        problem: its question.
        workers: as in `Settings.workers`; None scores in this process.
        device: where the network is.
        told: told when a worker is replaced.

    Raises:
        InputError: no cluster answers, or its workers don't start, don't agree, or die one after another.
        MissingPackageError: Ray is not installed.
    """
    if workers is None:
        yield problem
        return
    with connected(workers):
        ray = _ray()
        size = _count(workers) or int(ray.cluster_resources().get("CPU", 1))
        scorer = ray.remote(num_cpus=1, num_gpus=int(device.startswith("cuda")))(_Scorer)
        sent = ray.put(ray.cloudpickle.dumps(bench))
        agency = Agency(
            hire=lambda: _RayWorker(ray, scorer.remote(sent, [*sys.path, str(Path.cwd())])),
            size=min(size, max(problem.evaluations, 1)),
            lost=(ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectLostError),
            told=told,
        )
        crew = Crew(agency, Question(problem.equal))
        try:
            yield crew.served(problem)
        finally:
            crew.dismiss()


class _Scorer:
    """What runs in a worker.

    Args:
        data: the pickled workbench.
        path: where the sender finds modules, that of the network among them.
    """

    def __init__(self, data: bytes, path: Sequence[str]) -> None:
        torch.set_num_threads(1)
        sys.path.extend(folder for folder in path if folder not in sys.path)
        self._bench: Workbench = pickle.loads(data)

    def answer(self, question: Question) -> float:
        """Score a plan."""
        return answer(self._bench, question)


class _RayWorker:
    """A worker of the crew that is an actor of Ray's."""

    def __init__(self, ray: ModuleType, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def ask(self, question: Question) -> Future[float]:
        """Begin to score a plan."""
        return self._actor.answer.remote(question).future()

    def dismiss(self) -> None:
        """Kill the actor."""
        self._ray.kill(self._actor)


def _ray() -> ModuleType:
    """The package, quiet."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingPackageError("ray", "ray") from error
    return ray


def _count(workers: Workers) -> int:
    """How many workers are wanted; 0 leaves it to the cluster at an address."""
    text = str(workers)
    if text.isdecimal() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    if ADDRESS.fullmatch(text):
        return 0
    raise InputError(
        f"--workers {workers!r} is neither a number of workers nor the address of a Ray cluster; give a number from 1"
        f" to {MOST_WORKERS}, or auto, HOST:PORT or ray://HOST:PORT"
    )


def _connect(ray: ModuleType, address: str, count: int, scratch: str) -> None:
    """Start a cluster of `count` workers on this machine, or join the one at an address."""
    here: dict[str, Any] = {"include_dashboard": False, "_temp_dir": scratch}
    try:
        if not count:
            _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if count:
                ray.init(address="local", num_cpus=count, **here, **QUIET)
            else:
                ray.init(address=address, **QUIET)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if count:
            raise InputError(f"--workers {count}: Ray doesn't start on this machine: {reason}") from error
        raise InputError(
            f"--workers {address}: no Ray cluster lets ravn in there ({reason}); start one with 'ray start --head', set"
            " RAY_AUTH_MODE=token if it asks for a token, or give a number of workers on this machine"
        ) from error


def _knock(address: str) -> None:
    """Find out, in bounded time, whether a cluster answers; a client's address is given up after 30 seconds by Ray.

    Raises:
        OSError: it does not, with the reason.
    """
    if address != "auto":
        host, _, port = address.removeprefix(CLIENT).rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    if address.startswith(CLIENT):
        return
    command = [sys.executable, "-c", KNOCK, address]
    try:
        knock = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"no answer within {ANSWER_SECONDS:.0f} seconds") from error
    if knock.returncode:
        raise ConnectionError((knock.stderr.strip().splitlines() or ["no reason given"])[-1])
