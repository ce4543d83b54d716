"""Latency, memory and energy are those of the call."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from torch import nn

from ravn.errors import InputError, MissingPackageError
from ravn.metrics.energy import energy_per_thousand
from ravn.metrics.latency import WARM_UP, latencies
from ravn.metrics.memory import tensor_bytes
from ravn.metrics.runtimes import Runtime, measure_runtimes


class Clock:
    """A clock that calls move on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def take(self, seconds: float) -> None:
        self.now += seconds


def test_latencies_are_medians_of_warm_calls_taken_in_turn() -> None:
    clock, order = Clock(), []
    slow_times = iter([9.0] * WARM_UP + [float(n) for n in range(1, 12)])

    def slow() -> None:
        order.append("slow")
        clock.take(next(slow_times))

    def quick() -> None:
        order.append("quick")
        clock.take(0.5)

    found = latencies({"slow": slow, "quick": quick}, 11, clock)
    assert (found["slow"].median_seconds, found["slow"].low_seconds, found["slow"].high_seconds) == (6.0, 2.0, 10.0)
    assert found["quick"].median_seconds == 0.5
    assert order[2 * WARM_UP :] == ["slow", "quick"] * 11


def test_shared_tensors_count_once() -> None:
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10), nn.BatchNorm1d(10))
    model[1].weight = model[0].weight
    assert tensor_bytes(model) == 4 * (100 + 10 + 4 * 10) + 8


MEMORY = """
import torch
from ravn.metrics.memory import peak_growth_bytes, resident_bytes

torch.ones(4).sum()
print(peak_growth_bytes(lambda: torch.ones(SIZE // 4).sum()), peak_growth_bytes(lambda: None), resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system doesn't tell")
def test_the_peak_is_that_of_the_call_even_if_it_is_freed() -> None:
    # In a process of its own: one that has freed memory before may grow by nothing.
    size = 64 << 20
    command = [sys.executable, "-c", MEMORY.replace("SIZE", str(size))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    grown, idle, resident = map(int, told.split())
    assert 0.9 * size < grown < 1.5 * size
    assert idle < size / 8
    assert resident > 10 << 20


def fake_codecarbon(monkeypatch, kilowatt_hours: float, country: str | None = "Germany") -> None:
    class Tracker:
        def __init__(self, **_: object) -> None:
            self.final_emissions_data = SimpleNamespace(
                energy_consumed=kilowatt_hours, emissions=0.4 * kilowatt_hours, country_name=country
            )

        def start(self) -> None: ...

        def stop(self) -> None: ...

    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker = Tracker
    monkeypatch.setitem(sys.modules, "codecarbon", module)


def test_energy_is_per_thousand_images_in_joules(monkeypatch) -> None:
    calls = []
    fake_codecarbon(monkeypatch, 1e-3)
    found = energy_per_thousand(lambda: calls.append(0), 5, "DEU", seconds=0.01)
    assert found.joules == pytest.approx(3600 * 1000 / (5 * len(calls)))
    assert found.co2_grams == pytest.approx(0.4 * 1000 / (5 * len(calls)))
    assert found.source in ("measured", "modelled")


def test_energy_without_a_country_or_a_package_is_refused(monkeypatch) -> None:
    fake_codecarbon(monkeypatch, 1e-3, None)
    with pytest.raises(InputError, match="no energy figures for the country 'XXX'"):
        energy_per_thousand(lambda: None, 1, "XXX", seconds=0.01)
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ravn\[energy\]'"):
        energy_per_thousand(lambda: None, 1, "DEU", seconds=0.01)


def test_rows_say_what_was_run() -> None:
    started = []

    def start():
        started.append(0)
        return lambda: sum(range(1000))

    rows = measure_runtimes({"a": Runtime(start, 10, 20), "b": Runtime(start, 30, 40)}, 8, 3)
    assert len(started) == 2
    assert [(row.runtime, row.batch_size, row.file_bytes, row.weight_bytes) for row in rows] == [
        ("a", 8, 10, 20),
        ("b", 8, 30, 40),
    ]
    assert all(row.images_per_second == 8 / row.latency_seconds for row in rows)
    assert all(row.latency_low_seconds <= row.latency_seconds <= row.latency_high_seconds for row in rows)
    assert rows[0].energy_joules is None
