"""One deadline bounds everything that a request waits for."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count

from shared.errors import DeadlineReached


@dataclass(frozen=True)
class Deadline:
    """A point in time on a monotonic clock.

    Attributes:
        expires_at: seconds on `clock`.
        clock: where the time comes from.
        retries: whether there is time for another attempt at what has failed.
    """

    expires_at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    retries: bool = True

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self.expires_at - self.clock())

    def clamp(self, seconds: float) -> float:
        """`seconds`, or what is left if that is less.

        Raises:
            DeadlineReached: nothing is left.
        """
        left = self.remaining()
        if left <= 0:
            raise DeadlineReached
        return min(seconds, left)

    def within(self, seconds: float) -> Deadline:
        """The deadline that many seconds from now, or this one if it is earlier.

        Raises:
            DeadlineReached: nothing is left.
        """
        return replace(self, expires_at=self.clock() + self.clamp(seconds))

    @contextmanager
    def interrupting(self, stop: Callable[[], object]) -> Iterator[None]:
        """Calls `stop`, from another thread, when the deadline passes inside the block.

        For waits that take a time for each piece only, as reading from a connection does.

        Args:
            stop: ends the wait, and does not wait itself; what it raises because the wait has just ended by
                itself is of no interest.
        """
        watch = _watchdog.add(time.monotonic() + self.remaining(), stop)
        try:
            yield
        finally:
            _watchdog.remove(watch)

    def check(self) -> None:
        """Does nothing in time.

        Raises:
            DeadlineReached: nothing is left.
        """
        self.clamp(0)


class _Watchdog:
    """Stops waits whose time has come: one thread for all, as a thread for each costs more than most waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: dict[int, tuple[float, Callable[[], object]]] = {}
        self._numbers = count()
        self._wakes_at = math.inf
        self._running = False

    def add(self, when: float, stop: Callable[[], object]) -> int:
        """Has `stop` called at a time on the monotonic clock; returns the number of the watch."""
        with self._changed:
            number = next(self._numbers)
            self._watches[number] = (when, stop)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()
            elif when < self._wakes_at:
                self._changed.notify()
        return number

    def remove(self, number: int) -> None:
        """Ends a watch; one whose time has come is gone already."""
        with self._changed:
            self._watches.pop(number, None)

    def _run(self) -> None:
        while True:
            for stop in self._due():
                with suppress(OSError, ValueError, RuntimeError):
                    stop()

    def _due(self) -> list[Callable[[], object]]:
        with self._changed:
            now = time.monotonic()
            due = [number for number, (when, _) in self._watches.items() if when <= now]
            if due:
                return [self._watches.pop(number)[1] for number in due]
            self._wakes_at = min((when for when, _ in self._watches.values()), default=math.inf)
            self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            return []


_watchdog = _Watchdog()
