"""The one door to codecarbon: energy and CO2 of a call."""

import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ravn.errors import InputError, MissingPackageError

T = TypeVar("T")

SECONDS = 2.0
_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


@dataclass(frozen=True)
class Energy:
    """Energy of a call, or of a number of images.

    Args:
        joules: processor, memory and GPUs.
        co2_grams: at the country's mean grid factor.
        source: "measured" where the processor counts its energy, else "modelled" from its rated power and load.
    """

    joules: float
    co2_grams: float
    source: str


def energy_per_thousand(call: Callable[[], Any], images: int, country: str, seconds: float = SECONDS) -> Energy:
    """Energy per 1,000 images.

    Args:
        call: runs so many images; repeated for some seconds.
        images: of one call.
        country: ISO code of three letters, for the grid factor: "DEU".
        seconds: how long at least.

    Raises:
        MissingPackageError: codecarbon is not installed.
        InputError: codecarbon doesn't know the country.
    """
    done = 0

    def repeat() -> None:
        """Call until the time is over."""
        nonlocal done
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            call()
            done += images

    _, whole = energy_of(repeat, country)
    share = 1000 / done
    return Energy(whole.joules * share, whole.co2_grams * share, whole.source)


def energy_of(call: Callable[[], T], country: str) -> tuple[T, Energy]:
    """What a call gives, and the energy that it took.

    Args:
        call: runs once.
        country: ISO code of three letters, for the grid factor: "DEU".

    Raises:
        MissingPackageError: codecarbon is not installed.
        InputError: codecarbon doesn't know the country.
    """
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError as error:
        raise MissingPackageError("codecarbon", "energy") from error
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker = OfflineEmissionsTracker(
            country_iso_code=country, save_to_file=False, log_level="critical", allow_multiple_runs=True
        )
        tracker.start()
        try:
            given = call()
        finally:
            tracker.stop()
    found = tracker.final_emissions_data
    if not found.energy_consumed or not found.country_name:
        raise InputError(f"codecarbon has no energy figures for the country {country!r}; give an ISO code such as DEU")
    source = "measured" if os.access(_RAPL, os.R_OK) else "modelled"
    return given, Energy(found.energy_consumed * 3.6e6, found.emissions * 1000, source)
