"""One deadline over everything."""

from __future__ import annotations

import pytest

from shared.deadline import Deadline
from shared.errors import DeadlineReached


def test_it_counts_down_and_never_below_nothing() -> None:
    now = 100.0
    deadline = Deadline.after(10, lambda: now)
    assert (deadline.remaining(), deadline.clamp(3), deadline.clamp(30)) == (10, 3, 10)
    now = 111.0
    assert deadline.remaining() == 0


def test_what_would_wait_after_it_is_stopped() -> None:
    deadline = Deadline.after(0, lambda: 5.0)
    with pytest.raises(DeadlineReached):
        deadline.check()
    with pytest.raises(DeadlineReached):
        deadline.clamp(1)
