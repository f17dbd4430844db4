"""NCRONTAB: the schedules of timer triggers, with seconds first.

    {second} {minute} {hour} {day of month} {month} {day of week}

Contract: the NCrontab library. A field is `*`, a number, a name (months, days), a range, each with `/step`, or a list
of these. Unlike in crontab a day has to fit both of its fields, and Sunday is 0 only. Times are UTC, as in Azure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d{1,3}))?")
# 29 February on a given weekday comes every 28 years, with the turn of a century between them every 40.
_DAYS_MAX = 41 * 366


class Schedule:
    """When a timer fires.

    Args:
        expression: six fields, or five without seconds.

    Raises:
        ValueError: it is no such expression; the text says which field.
    """

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        if len(fields) == 5:
            fields = ["0", *fields]
        if len(fields) != 6:
            raise ValueError(f"{expression!r} is no schedule of six fields, seconds first")
        self._seconds = _numbers("second", fields[0], 0, 59)
        self._minutes = _numbers("minute", fields[1], 0, 59)
        self._hours = _numbers("hour", fields[2], 0, 23)
        self._days = _numbers("day of month", fields[3], 1, 31)
        self._months = _numbers("month", fields[4], 1, 12, _MONTHS)
        self._weekdays = _numbers("day of week", fields[5], 0, 6, _DAYS)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after a moment; None where there is none, such as on 30 February.

        Args:
            moment: in any time zone; fields are compared with its own clock.
        """
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        for offset in range(_DAYS_MAX):
            day = start + timedelta(days=offset)
            if not self._has_day(day):
                continue
            earliest = (start.hour, start.minute, start.second) if offset == 0 else (0, 0, 0)
            time = self._first_time(earliest)
            if time:
                return day.replace(hour=time[0], minute=time[1], second=time[2])
        return None

    def _has_day(self, day: datetime) -> bool:
        weekday = (day.weekday() + 1) % 7
        return day.month in self._months and day.day in self._days and weekday in self._weekdays

    def _first_time(self, earliest: tuple[int, int, int]) -> tuple[int, int, int] | None:
        for hour in (hour for hour in self._hours if hour >= earliest[0]):
            for minute in self._minutes:
                if (hour, minute) < earliest[:2]:
                    continue
                for second in self._seconds:
                    if (hour, minute, second) >= earliest:
                        return hour, minute, second
        return None


def _numbers(name: str, text: str, low: int, high: int, names: Sequence[str] = ()) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no {name} of a schedule")
        star, first_text, last_text, step_text = match.groups()
        step = int(step_text or 1)
        first = low if star else _number(name, first_text, low, high, names)
        open_end = high if star or step_text else first
        last = _number(name, last_text, low, high, names) if last_text else open_end
        if step == 0:
            raise ValueError(f"{part!r} is no {name} of a schedule")
        # NCrontab takes a range from either end.
        found.update(range(min(first, last), max(first, last) + 1, step))
    return tuple(sorted(found))


def _number(name: str, text: str, low: int, high: int, names: Sequence[str]) -> int:
    if text.isdecimal() and text.isascii():
        number = int(text)
    else:
        fitting = [position for position, word in enumerate(names) if word.startswith(text.lower())]
        number = low + fitting[0] if fitting else -1
    if not low <= number <= high:
        raise ValueError(f"{text!r} is no {name} of a schedule")
    return number
