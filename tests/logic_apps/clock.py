"""The time of the player: Logic Apps waits for seconds and hours, tests do not."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the player asks for time."""

    def now(self) -> float:
        """Seconds since the clock began."""

    def sleep(self, seconds: float) -> None:
        """Lets that much time pass."""

    def allowance(self, seconds: float) -> float:
        """The real seconds that somebody outside the player gets where Logic Apps would give `seconds`."""


class StoppedClock:
    """Time passes only where the player waits, and then at once.

    Args:
        patience: real seconds for everybody outside the player.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self._now = 0.0
        self._patience = patience
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._now += seconds

    def allowance(self, seconds: float) -> float:
        return self._patience


class FastClock:
    """Time runs faster than real time: for an app that works in real time beside the player.

    Args:
        speed: how many of its seconds pass in a real one.
    """

    def __init__(self, speed: float = 60.0) -> None:
        self._began = time.monotonic()
        self._speed = speed
        self._waiting = threading.Event()

    def now(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    def sleep(self, seconds: float) -> None:
        # Another process does the work: there is nothing to be woken by, and the wait is short and has an end.
        self._waiting.wait(seconds / self._speed)

    def allowance(self, seconds: float) -> float:
        return seconds / self._speed
