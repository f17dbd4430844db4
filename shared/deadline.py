"""One deadline bounds everything that a request waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
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

    def check(self) -> None:
        """Does nothing in time.

        Raises:
            DeadlineReached: nothing is left.
        """
        self.clamp(0)
