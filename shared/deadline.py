"""One deadline bounds everything that a request waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from shared.errors import DeadlineReached


@dataclass(frozen=True)
class Deadline:
    """A point in time on a monotonic clock.

    Attributes:
        expires_at: seconds on `clock`.
        clock: where the time comes from.
    """

    expires_at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

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
        return Deadline.after(self.clamp(seconds), self.clock)

    @contextmanager
    def interrupting(self, stop: Callable[[], object]) -> Iterator[None]:
        """Calls `stop`, from a thread of its own, when the deadline passes inside the block.

        For waits that take a time for each piece only, as reading from a connection does.

        Args:
            stop: ends the wait; what it raises because the wait has just ended by itself is of no interest.
        """

        def stop_quietly() -> None:
            with suppress(OSError, ValueError, RuntimeError):
                stop()

        timer = threading.Timer(self.remaining(), stop_quietly)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def check(self) -> None:
        """Does nothing in time.

        Raises:
            DeadlineReached: nothing is left.
        """
        self.clamp(0)
