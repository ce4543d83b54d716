"""A cluster that somebody else has started is used; where none answers, one sentence says so in bounded time."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import on_a_cluster
import pytest

from ravn.errors import InputError, MissingPackageError
from ravn.scoring import cluster, connected

pytest.importorskip("ray", reason="needs ravn[ray]")

ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """The ports, for neighbours and for clients, of a cluster of two processors that another process has started."""
    port, clients = free_port(), free_port()
    options = [f"--port={port}", f"--ray-client-server-port={clients}", "--num-cpus=2", "--include-dashboard=false"]
    script = Path(sys.executable).parent / "ray"
    with TemporaryDirectory(prefix="ravn-", ignore_cleanup_errors=True) as folder:
        command = [script, "start", "--head", "--block", f"--temp-dir={folder}", *options]
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        try:
            for number in (port, clients):
                _open(number)
            yield port, clients
        finally:
            head.terminate()
            head.wait()


def _open(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_is_there_gives_the_same_plan_and_stays(address: str, ports: tuple[int, int]) -> None:
    there = address.format(ports[address.startswith("ray://")])
    command = [sys.executable, "-W", "error", on_a_cluster.__file__, there]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == on_a_cluster.found(None)
    socket.create_connection(("127.0.0.1", ports[0])).close()


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        (0, "--workers 0 is neither a number of workers nor the address of a Ray cluster; give a number from 1"),
        ("many", "--workers 'many' is neither a number"),
        ("1" * 30, "is neither a number"),
        ("-2", "--workers '-2' is neither a number"),
        ("", "--workers '' is neither a number"),
        ("ray://", "--workers 'ray://' is neither a number"),
        ("127.0.0.1:1", "--workers 127.0.0.1:1: no Ray cluster lets ravn in there ("),
        ("ray://127.0.0.1:1", "--workers ray://127.0.0.1:1: no Ray cluster lets ravn in there ("),
        ("no.such.host.invalid:6379", "no Ray cluster lets ravn in there ("),
        ("127.0.0.1:99999", "no Ray cluster lets ravn in there ("),
    ],
)
def test_workers_that_can_not_be_had_are_a_sentence(workers: int | str, sentence: str) -> None:
    with pytest.raises(InputError) as error, connected(workers):
        pass
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        ("", "no answer within 4 seconds"),
        pytest.param("ray://", "ray client connection timeout", marks=pytest.mark.slow),  # 30 seconds, fixed by Ray
    ],
)
def test_a_port_behind_which_no_cluster_answers_is_given_up_in_bounded_time(
    scheme: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        sentence = rf"\({reason}\); start one with 'ray start --head'"
        with pytest.raises(InputError, match=sentence), connected(address):
            pass


def test_without_ray_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = r"the package 'ray' is not installed; .* 'ravn\[ray\]'"
    with pytest.raises(MissingPackageError, match=sentence), connected(2):
        pass
