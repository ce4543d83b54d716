import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ravn.reports.formats import HEADINGS, duration, fixed, headline_cells, thousands
from ravn.result import Measurement

UNITS = {"s": 1, "min": 60, "h": 3600}
finite = st.floats(-1e12, 1e12)


def seconds_of(text):
    parts = text.replace(",", "").split()
    return [(float(n), UNITS[unit]) for n, unit in zip(parts[::2], parts[1::2], strict=True)]


@settings(derandomize=True)
@given(st.floats(0, 1e8))
def test_a_duration_reads_back_within_its_last_unit(seconds):
    parts = seconds_of(duration(seconds))
    resolution = 0.1 if len(parts) == 1 else parts[-1][1]
    assert abs(sum(n * unit for n, unit in parts) - seconds) <= resolution * (1 + 1e-9)
    assert all(n < 60 for n, unit in parts if unit < 3600)


@settings(derandomize=True)
@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_a_longer_duration_never_reads_shorter(first, second):
    one, other = (sum(n * unit for n, unit in seconds_of(duration(s))) for s in sorted((first, second)))
    assert one <= other + 1e-9


@settings(derandomize=True)
@given(st.integers(-(10**15), 10**15))
def test_thousands_are_separated_and_nothing_is_lost(number):
    groups = thousands(number).lstrip("-").split(",")
    assert int(thousands(number).replace(",", "")) == number
    assert 1 <= len(groups[0]) <= 3
    assert all(len(group) == 3 for group in groups[1:])


@settings(derandomize=True)
@given(finite, st.integers(0, 4))
def test_a_fixed_number_is_the_nearest(value, digits):
    assert abs(float(fixed(value, digits).replace(",", "")) - value) <= 0.5001 * 10**-digits + abs(value) * 1e-15


def test_what_is_not_a_number_is_a_dash():
    broken = Measurement("m", math.nan, 1, math.inf, -math.inf, 0, math.nan)
    assert [cell.rstrip("x") for cell in headline_cells(broken)] == ["m", "-", "1", "-", "-", "0", "-"]


def test_a_row_has_a_cell_under_every_heading():
    assert len(headline_cells(Measurement("m", 1.0, 1, 1.0, 1.0, 1, 1.0))) == len(HEADINGS)
