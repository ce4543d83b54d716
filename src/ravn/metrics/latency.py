"""Wall time of a call when it is warm."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Wall time of one call.

    Args:
        median_seconds: half of the calls took longer.
        low_seconds: a tenth of the calls took less.
        high_seconds: a tenth of the calls took longer.
    """

    median_seconds: float
    low_seconds: float
    high_seconds: float


def latencies(
    calls: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Latency]:
    """Time calls against each other: in turn, so that whatever else the machine does meets all of them alike.

    Args:
        calls: what is timed, by name; each is warmed up first.
        repeats: timed calls of each.
        clock: seconds.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: _summary(sorted(taken)) for name, taken in times.items()}


def _summary(taken: list[float]) -> Latency:
    last = len(taken) - 1
    return Latency(statistics.median(taken), taken[round(0.1 * last)], taken[round(0.9 * last)])
