"""When a session counts as lost, and what is said of it."""

from __future__ import annotations

import pytest

from shared.session_losses import SessionLosses
from shared.session_wire import Execution


def execution(guid: str = "", *, new: bool = False) -> Execution:
    return Execution(True, "", "", new_allocation=new, session_guid=guid)


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        ("", execution(), False),
        ("", execution("one"), False),
        ("one", execution(), False),
        ("one", execution("one"), False),
        ("one", execution("two"), True),
        ("one", execution("one", new=True), True),
        ("", execution(new=True), True),
    ],
)
def test_another_container_or_a_new_allocation_is_a_loss(before: str, now: Execution, lost: bool) -> None:
    losses = SessionLosses()
    losses.is_lost_in(execution(before))
    assert losses.is_lost_in(now) is lost


def test_a_loss_is_noted_once_by_what_it_means() -> None:
    losses = SessionLosses("gone")
    losses.note()
    losses.note()
    assert losses.untold
    assert losses.take() == ["gone"]
    assert not losses.untold


def test_a_loss_that_means_nothing_is_not_noted() -> None:
    losses = SessionLosses()
    losses.note()
    assert losses.take() == []


def test_after_code_a_loss_means_what_it_made() -> None:
    losses = SessionLosses("other")
    losses.code_has_run()
    losses.note()
    (note,) = losses.take()
    assert "the session was lost" in note


def test_what_somebody_else_has_found_is_said_instead() -> None:
    losses = SessionLosses("mine")
    losses.note("theirs")
    losses.note()
    assert losses.take() == ["theirs"]
