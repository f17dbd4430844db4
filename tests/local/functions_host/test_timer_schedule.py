from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.timer_schedule import Schedule

START = datetime(2026, 11, 24, 9, 30, 15, 500_000, tzinfo=timezone.utc)  # a Tuesday


def following(expression: str, count: int = 1) -> list[str]:
    schedule, moment = Schedule(expression), START
    found = []
    for _ in range(count):
        due = schedule.next_after(moment)
        assert due is not None
        moment = due
        found.append(moment.strftime("%Y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # The examples of the timer trigger's documentation, and what is special about NCRONTAB.
        ("0 */5 * * * *", ["2026-11-24 09:35:00", "2026-11-24 09:40:00"]),
        ("0 0 * * * *", ["2026-11-24 10:00:00", "2026-11-24 11:00:00"]),
        ("0 0 */2 * * *", ["2026-11-24 10:00:00", "2026-11-24 12:00:00"]),
        ("0 0 9-17 * * *", ["2026-11-24 10:00:00", "2026-11-24 11:00:00"]),
        ("0 30 9 * * *", ["2026-11-25 09:30:00", "2026-11-26 09:30:00"]),
        (
            "0 30 9 * * 1-5",
            ["2026-11-25 09:30:00", "2026-11-26 09:30:00", "2026-11-27 09:30:00", "2026-11-30 09:30:00"],
        ),
        ("0 30 9 * Jan Mon", ["2027-01-04 09:30:00", "2027-01-11 09:30:00"]),
        ("0 0 0 1 january,July *", ["2027-01-01 00:00:00", "2027-07-01 00:00:00"]),
        ("* * * * * *", ["2026-11-24 09:30:16", "2026-11-24 09:30:17"]),
        ("15/20 * * * * *", ["2026-11-24 09:30:35", "2026-11-24 09:30:55", "2026-11-24 09:31:15"]),
        ("*/5 * * * *", ["2026-11-24 09:35:00", "2026-11-24 09:40:00"]),
        ("0 0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        # Both fields of the day have to fit: a Friday the 13th.
        ("0 0 0 13 * 5", ["2027-08-13 00:00:00", "2028-10-13 00:00:00"]),
        ("0 0 0 * * Sun", ["2026-11-29 00:00:00"]),
    ],
)
def test_next_times(expression: str, expected: list[str]) -> None:
    assert following(expression, len(expected)) == expected


def test_day_that_never_comes() -> None:
    assert Schedule("0 0 0 30 2 *").next_after(START) is None


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * * *",
        "* 60 * * * *",
        "* * 24 * * *",
        "* * * 0 * *",
        "* * * * 13 *",
        "* * * * * 7",
        "* * * * * Fun",
        "* * * * Mon *",
        "*/0 * * * * *",
        "1- * * * * *",
        "-1 * * * * *",
        "1,,2 * * * * *",
        "a * * * * *",
        "@daily",
        "00:05:00",
    ],
)
def test_no_schedules(expression: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(expression)


@given(
    seconds=st.integers(0, 59),
    minutes=st.integers(1, 59),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
)
def test_next_time_fits_and_is_the_first(seconds: int, minutes: int, moment: datetime) -> None:
    due = Schedule(f"{seconds} */{minutes} * * * *").next_after(moment)
    assert due is not None
    assert due > moment
    assert (due.second, due.minute % minutes) == (seconds, 0)
    # Minute by minute from the moment on, none before it fits.
    first = moment.replace(second=seconds, microsecond=0)
    candidates = (first + timedelta(minutes=count) for count in range(-1, 121))
    assert due == next(time for time in candidates if time > moment and time.minute % minutes == 0)
