"""Calls one timer function at the times of its schedule, one call after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

from local.functions_host.background import tell_failure
from local.functions_host.timer_schedule import Schedule

Sleep = Callable[[float], Awaitable[object]]
_logger = logging.getLogger("local.functions_host")


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


class TimerListener:
    """A timer.

    Args:
        name: of its function.
        schedule: when it fires.
        call: invokes the function.
        at_start: fire also when the host starts (`runOnStartup`).
        now: the time.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        call: Callable[[], Awaitable[bool]],
        *,
        at_start: bool = False,
        now: Callable[[], datetime] = utc_now,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._name = name
        self._schedule = schedule
        self._call = call
        self._at_start = at_start
        self._now = now
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to wait for its times, on the running event loop."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(tell_failure(f"The timer of '{self._name}'"))

    def take_no_more(self) -> None:
        """Ends it; a call under way is not waited for, as nothing would come again for it."""
        if self._task:
            self._task.cancel()

    async def stop(self, grace_seconds: float) -> None:
        """The same."""
        self.take_no_more()

    async def _run(self) -> None:
        if self._at_start:
            await self._call()
        while True:
            due = self._schedule.next_after(self._now())
            if due is None:
                return
            # The clock decides, not the length of the pause: a machine may sleep meanwhile.
            while (left := (due - self._now()).total_seconds()) > 0:
                await self._sleep(min(left, 60.0))
            await self._call()
