"""Numbers as a reader wants them, the same in the terminal and on the page."""

import math

from ravn.result import Measurement

HEADINGS = ("method", "test\naccuracy %", "file\nbytes", "bits per\nweight", "ratio", "evaluations", "time")
"""Headings of the headline table, in lines for the terminal; `headline_cells` gives a row."""


def thousands(number: int) -> str:
    """A whole number with thousands separators."""
    return f"{number:,}"


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals, or a dash where there is none."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def duration(seconds: float) -> str:
    """A wall time in the two units that matter."""
    if not math.isfinite(seconds):
        return "-"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def headline_cells(row: Measurement) -> tuple[str, ...]:
    """One row of the headline table."""
    return (
        row.method,
        fixed(row.test_accuracy, 2),
        thousands(row.file_bytes),
        fixed(row.bits_per_weight, 2),
        fixed(row.compression_ratio, 1) + "x",
        thousands(row.evaluations),
        duration(row.seconds) if row.seconds else "-",
    )
