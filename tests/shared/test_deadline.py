"""One deadline over everything."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial

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
    stopped, later = threading.Event(), threading.Event()
    with Deadline.after(0.02).interrupting(stopped.set):
        pass
    with Deadline.after(0.05).interrupting(later.set):
        assert later.wait(5)
    assert not stopped.is_set()


def test_waits_at_once_are_interrupted_each_in_its_time_by_one_thread() -> None:
    order: list[int] = []
    done = threading.Event()
    seconds = {1: 0.09, 2: 0.03, 3: 0.06, 4: 60.0}
    with ExitStack() as stack:
        for number, after in seconds.items():
            stack.enter_context(Deadline.after(after).interrupting(partial(order.append, number)))
        stack.enter_context(Deadline.after(0.12).interrupting(done.set))
        assert done.wait(5)
        assert [thread.name for thread in threading.enumerate()].count("deadlines") == 1
    assert order == [2, 3, 1]


def test_a_wait_that_has_just_ended_by_itself_may_refuse() -> None:
    refused = threading.Event()

    def stop() -> None:
        refused.set()
        raise OSError

    with Deadline.after(0.01).interrupting(stop):
        assert refused.wait(5)
