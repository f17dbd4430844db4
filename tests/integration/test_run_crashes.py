"""The functions host is killed while runs are under way, and started again: each ends once, nothing is done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from bench.counted_model import CountedModel, task_message, task_name
from bench.run_soak import EXECUTIONS, TURNS, Soak, counted_stack, marking_script, marks_of, soak
from local import azurite
from local.stack import HOST, IDENTITY, SESSION_POOL, Stack
from shared.session import session_identifier
from tests.logic_apps import public_network

LEASE_SECONDS = 5
BOUND_SECONDS = 150


@pytest.fixture(scope="module", autouse=True)
def _storage() -> None:
    _need(azurite.missing())


def _need(reason: str) -> None:
    if reason:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


class Crash:
    """Four runs, each at another point when the host is killed, and what became of them; one wait is enough for all."""

    QUEUED, CALLING, EXECUTING, LOST = (task_name(number) for number in range(1, 5))

    def __init__(self) -> None:
        # Long enough to be under way when everything else is in its place.
        self.model = CountedModel(marking_script(3))
        self.replies: dict[str, dict[str, Any]] = {}

    def play(self) -> None:
        self.model.held |= {(self.QUEUED, 0), (self.CALLING, 1), (self.LOST, 1)}
        with counted_stack(self.model, lease_seconds=LEASE_SECONDS) as stack:
            runs = {task: post(stack, task) for task in (self.QUEUED, self.CALLING, self.LOST)}
            for task, turn in self.model.held:
                self.model.wait_asked(task, turn)
            # Its code begins when the step before it is saved.
            runs[self.EXECUTING] = post(stack, self.EXECUTING)
            until(runs[self.EXECUTING]["status_url"], lambda reply: len(reply["steps"]) == 1)
            stack.kill_part(HOST)
            self._lose_session(stack, runs[self.LOST]["session_id"])
            self.model.held.clear()
            stack.start_part(HOST)
            self.replies = {task: ended(run["status_url"]) for task, run in runs.items()}

    def _lose_session(self, stack: Stack, session_id: str) -> None:
        given = stack.ready(IDENTITY)["env"]
        token = requests.get(
            given["IDENTITY_ENDPOINT"],
            params={"resource": "https://dynamicsessions.io", "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]},
            timeout=BOUND_SECONDS,
        ).json()["access_token"]
        pool = stack.ready(SESSION_POOL)["env"]["POOL_MANAGEMENT_ENDPOINT"]
        deleted = requests.delete(
            f"{pool}/session",
            params={"api-version": "2025-10-02-preview", "identifier": session_identifier("", session_id)},
            headers={"Authorization": f"Bearer {token}"},
            timeout=BOUND_SECONDS,
        )
        assert deleted.status_code // 100 == 2, deleted.text

    def calls(self, task: str) -> list[int]:
        return self.model.calls(task, TURNS)


@pytest.fixture(scope="module")
def crash() -> Crash:
    crash = Crash()
    crash.play()
    return crash


def test_killed_in_the_middle_of_a_model_call(crash: Crash) -> None:
    reply = crash.replies[crash.CALLING]
    assert reply["status"] == "completed", reply
    # The call that was under way is the only one that is made again: nobody knows its answer.
    assert crash.calls(crash.CALLING) == [1, 2, 1]
    assert marks_of(reply) == [1, 2]


def test_killed_in_the_middle_of_an_execution(crash: Crash) -> None:
    reply = crash.replies[crash.EXECUTING]
    assert reply["status"] == "completed", reply
    assert crash.calls(crash.EXECUTING) == [1, 1, 1]
    assert marks_of(reply) == [1, 2]


def test_killed_before_anything_was_done(crash: Crash) -> None:
    reply = crash.replies[crash.QUEUED]
    assert reply["status"] == "completed", reply
    assert crash.calls(crash.QUEUED) == [2, 1, 1]
    assert marks_of(reply) == [1, 2]


def test_killed_and_the_session_lost_says_so_to_the_model(crash: Crash) -> None:
    reply = crash.replies[crash.LOST]
    assert reply["status"] == "completed", reply
    assert crash.calls(crash.LOST) == [1, 2, 1]
    # The mark of the first execution is gone with its session; the execution is not done again.
    assert marks_of(reply) == [1, 1]
    assert "lost" in str(reply["steps"])


@pytest.fixture(scope="module")
def callback_scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    _need(public_network.missing())
    told: dict[str, Any] = public_network.run_inside(
        "tests.logic_apps.callback_crash_scene", tmp_path_factory.mktemp("network")
    )
    return told


@pytest.mark.parametrize("moment", ["before it is taken", "before its answer arrives"])
def test_killed_between_the_end_and_the_record_of_its_callback(callback_scene: dict[str, Any], moment: str) -> None:
    told = callback_scene[moment]
    assert told["status"] == "completed", told
    assert told["callback"]["state"] == "delivered"
    assert told["calls"] == [1, 1, 1]
    assert told["marks"] == [1, 2]
    # At least once, under one id: the receiver can tell a repetition.
    assert len(told["statuses"]) >= 2
    assert told["statuses"][-1] == 202
    assert len(told["ids"]) == 1


def test_killed_at_random_all_runs_end_and_none_twice() -> None:
    wanted = Soak(runs=30, kills=5, seed=4, lease_seconds=LEASE_SECONDS)
    outcome = soak(wanted)
    assert outcome.statuses == {"completed": wanted.runs}
    assert outcome.recorded == wanted.runs
    assert outcome.twice == []
    assert sum(map(len, outcome.marks.values())) == EXECUTIONS * wanted.runs
    assert outcome.model_calls >= TURNS * wanted.runs


def post(stack: Stack, task: str) -> dict[str, Any]:
    reply = requests.post(f"{stack.url}/api/runs", json={"message": task_message(task)}, timeout=BOUND_SECONDS)
    assert reply.status_code == 202, reply.text
    accepted: dict[str, Any] = reply.json()
    return accepted


def ended(status_url: str) -> dict[str, Any]:
    return until(status_url, lambda reply: reply["status"] not in ("queued", "running"))


def until(status_url: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first reply of which something holds; the run is asked for as a caller would, with long polls."""
    deadline = time.monotonic() + BOUND_SECONDS
    seen = 0
    while time.monotonic() < deadline:
        response = requests.get(status_url, params={"wait": "5", "after": str(seen)}, timeout=BOUND_SECONDS)
        assert response.status_code in (200, 202), response.text
        whole: dict[str, Any] = requests.get(status_url, timeout=BOUND_SECONDS).json()
        if holds(whole):
            return whole
        seen = len(whole["steps"])
    raise AssertionError(f"in vain after {BOUND_SECONDS} s: {whole}")
