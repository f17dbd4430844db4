"""One deadline over everything."""

from __future__ import annotations

import threading

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


def test_a_shorter_one_never_ends_later() -> None:
    deadline = Deadline.after(10, lambda: 100.0)
    assert (deadline.within(3).expires_at, deadline.within(30).expires_at) == (103, 110)
    with pytest.raises(DeadlineReached):
        Deadline.after(0, lambda: 5.0).within(3)


def test_a_wait_is_interrupted_when_it_passes() -> None:
    stopped = threading.Event()
    with Deadline.after(0.01).interrupting(stopped.set):
        assert stopped.wait(5)


def test_what_ends_in_time_is_not_interrupted() -> None:
    stopped = threading.Event()
    before = set(threading.enumerate())
    with Deadline.after(60).interrupting(stopped.set):
        (timer,) = set(threading.enumerate()) - before
    timer.join(5)
    assert not timer.is_alive()
    assert not stopped.is_set()


def test_a_wait_that_has_just_ended_by_itself_may_refuse() -> None:
    refused = threading.Event()

    def stop() -> None:
        refused.set()
        raise OSError

    with Deadline.after(0.01).interrupting(stop):
        assert refused.wait(5)
