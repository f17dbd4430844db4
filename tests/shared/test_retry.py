"""One policy for another attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.deadline import Deadline
from shared.retry import pause, retry_after


def left(seconds: float) -> Deadline:
    return Deadline.after(seconds, lambda: 0.0)


def test_pauses_grow_and_end() -> None:
    assert [pause(attempt, {}, left(60)) for attempt in (1, 2, 3, 4)] == [0.5, 1, 2, None]


def test_the_service_knows_better() -> None:
    assert pause(1, {"retry-after": "7"}, left(60)) == 7
    assert pause(1, {"retry-after": "0"}, left(60)) == 0


def test_nothing_is_waited_for_beyond_the_deadline() -> None:
    assert pause(1, {"retry-after": "60"}, left(60)) is None
    assert pause(1, {}, left(0.4)) is None


def test_a_deadline_without_retries_has_time_for_one_attempt_only() -> None:
    once = replace(left(60), retries=False)
    assert pause(1, {"retry-after": "0"}, once) is None
    assert pause(1, {}, once.within(30)) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), (" 7 ", 7), ("0.2", None), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_whole_seconds_are_understood(text: str, seconds: int | None) -> None:
    assert retry_after({"retry-after": text}) == seconds
