"""One network in several runtimes, side by side in one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ravn.metrics.energy import Energy, energy_per_thousand
from ravn.metrics.latency import latencies
from ravn.metrics.memory import peak_growth_bytes, resident_bytes


@dataclass(frozen=True)
class Runtime:
    """A way to run a network.

    Args:
        start: loads it; the call that it gives runs one batch.
        file_bytes: of the file that it is loaded from.
        weight_bytes: of weights and other tensors while it runs.
    """

    start: Callable[[], Callable[[], Any]]
    file_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class RuntimeRow:
    """What one runtime took.

    Args:
        runtime: its name.
        batch_size: images of a call.
        latency_seconds: median wall time of a call, warm.
        latency_low_seconds: a tenth of the calls took less.
        latency_high_seconds: a tenth of the calls took longer.
        images_per_second: at the median.
        file_bytes: of the file that it is loaded from.
        weight_bytes: of weights and other tensors while it runs.
        loaded_bytes: by which loading it raised the resident memory of the process.
        peak_bytes: by which its first call raised the resident memory at the peak.
        energy_joules: per 1,000 images.
        co2_grams: per 1,000 images.
        energy_source: "measured" or "modelled".
    """

    runtime: str
    batch_size: int
    latency_seconds: float
    latency_low_seconds: float
    latency_high_seconds: float
    images_per_second: float
    file_bytes: int
    weight_bytes: int
    loaded_bytes: int | None
    peak_bytes: int | None
    energy_joules: float | None
    co2_grams: float | None
    energy_source: str | None


def measure_runtimes(
    runtimes: Mapping[str, Runtime], batch_size: int, repeats: int, country: str | None = None
) -> list[RuntimeRow]:
    """Load runtimes one after the other, and time them in turn.

    Args:
        runtimes: by name.
        batch_size: images of a call.
        repeats: timed calls of each.
        country: ISO code whose grid factor turns energy into CO2; None measures no energy.

    Raises:
        MissingPackageError: energy is wanted, and codecarbon is not installed.
        InputError: the country is unknown.
    """
    calls: dict[str, Callable[[], Any]] = {}
    memory: dict[str, tuple[int | None, int | None]] = {}
    for name, runtime in runtimes.items():
        before = resident_bytes()
        calls[name] = runtime.start()
        after = resident_bytes()
        loaded = None if before is None or after is None else max(after - before, 0)
        memory[name] = (loaded, peak_growth_bytes(calls[name]))
    taken = latencies(calls, repeats)
    rows = []
    for name, runtime in runtimes.items():
        energy: Energy | None = None
        if country is not None:
            energy = energy_per_thousand(calls[name], batch_size, country)
        latency = taken[name]
        rows.append(
            RuntimeRow(
                runtime=name,
                batch_size=batch_size,
                latency_seconds=latency.median_seconds,
                latency_low_seconds=latency.low_seconds,
                latency_high_seconds=latency.high_seconds,
                images_per_second=batch_size / latency.median_seconds,
                file_bytes=runtime.file_bytes,
                weight_bytes=runtime.weight_bytes,
                loaded_bytes=memory[name][0],
                peak_bytes=memory[name][1],
                energy_joules=energy.joules if energy else None,
                co2_grams=energy.co2_grams if energy else None,
                energy_source=energy.source if energy else None,
            )
        )
    return rows
