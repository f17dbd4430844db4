from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from local.functions_host.timer_listener import TimerListener
from local.functions_host.timer_schedule import Schedule

BOUND_SECONDS = 20


class Clock:
    """A clock that only sleeps move, and which ends after some of them."""

    def __init__(self, sleeps: int) -> None:
        self.time = datetime(2026, 11, 24, 9, 30, 15, tzinfo=timezone.utc)
        self.ended = asyncio.Event()
        self._left = sleeps

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if self._left == 0:
            self.ended.set()
            await asyncio.Event().wait()
        self._left -= 1
        self.time += timedelta(seconds=seconds)


def fired(expression: str, *, sleeps: int, at_start: bool = False, takes_seconds: float = 0) -> list[str]:
    """The times at which a timer fires until the clock has slept so often."""

    async def scenario() -> list[str]:
        clock = Clock(sleeps)
        times: list[str] = []

        async def call() -> bool:
            times.append(clock.now().strftime("%H:%M:%S"))
            clock.time += timedelta(seconds=takes_seconds)
            return False

        timer = TimerListener("tick", Schedule(expression), call, at_start=at_start, now=clock.now, sleep=clock.sleep)
        timer.start()
        await clock.ended.wait()
        await timer.stop(0)
        return times

    return asyncio.run(asyncio.wait_for(scenario(), BOUND_SECONDS))


def test_timer_fires_at_its_times_whatever_becomes_of_the_calls() -> None:
    assert fired("*/20 * * * * *", sleeps=3) == ["09:30:20", "09:30:40", "09:31:00"]


def test_timer_fires_at_the_start_too_where_it_should() -> None:
    assert fired("0 * * * * *", sleeps=1, at_start=True) == ["09:30:15", "09:31:00"]


def test_calls_do_not_overlap_and_missed_times_are_not_made_up() -> None:
    assert fired("*/10 * * * * *", sleeps=2, takes_seconds=25) == ["09:30:20", "09:30:50"]


def test_long_pauses_are_cut_so_that_a_machine_that_slept_is_noticed() -> None:
    assert fired("0 35 * * * *", sleeps=5) == ["09:35:00"]


def test_schedule_without_times_fires_at_the_start_only() -> None:
    fired_at_start = asyncio.Event()

    async def call() -> bool:
        assert not fired_at_start.is_set()
        fired_at_start.set()
        return True

    async def scenario() -> None:
        timer = TimerListener("tick", Schedule("0 0 0 30 2 *"), call, at_start=True)
        timer.start()
        await fired_at_start.wait()
        await timer.stop(0)

    asyncio.run(asyncio.wait_for(scenario(), BOUND_SECONDS))
    assert fired_at_start.is_set()


def test_timer_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def call() -> bool:
        raise ArithmeticError("unforeseen")

    async def scenario() -> None:
        timer = TimerListener("tick", Schedule("0 * * * * *"), call, at_start=True)
        timer.start()
        while "ArithmeticError" not in caplog.text:
            await asyncio.sleep(0)
        await timer.stop(0)

    asyncio.run(asyncio.wait_for(scenario(), BOUND_SECONDS))
    assert "The timer of 'tick' has failed." in caplog.text
