"""The functions host is killed, or storage stopped, while runs are under way: each ends once, nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.counted_model import CountedModel, task_message, task_name
from bench.run_soak import EXECUTIONS, TURNS, Outcome, Soak, counted_stack, marking_script, marks_of, soak
from local import azurite
from local.stack import HOST, IDENTITY, SESSION_POOL, Stack
from shared.session import session_identifier
from tests.logic_apps import public_network
from tests.needs import need

LEASE_SECONDS = 5
BOUND_SECONDS = 150
# More runs than fit at once, so that there is work for each kill while what the last one cut off waits for its lease.
KILLS = Soak(
    runs=30,
    kills=3,
    model_seconds=0.5,
    code_seconds=0.3,
    at_once=8,
    pause_seconds=1.5,
    lease_seconds=LEASE_SECONDS,
    timeout_seconds=BOUND_SECONDS,
)
OUTAGES = Soak(
    runs=48,
    outages=2,
    model_seconds=1.0,
    at_once=16,
    pause_seconds=4.0,
    lease_seconds=LEASE_SECONDS,
    timeout_seconds=BOUND_SECONDS,
)


@pytest.fixture(scope="module", autouse=True)
def _storage() -> None:
    need(azurite.missing())


class Pool:
    """The stack's session pool, as the app reaches it."""

    def __init__(self, stack: Stack) -> None:
        given = stack.ready(IDENTITY)["env"]
        reply = requests.get(
            given["IDENTITY_ENDPOINT"],
            params={"resource": "https://dynamicsessions.io", "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]},
            timeout=BOUND_SECONDS,
        )
        self._headers = {"Authorization": f"Bearer {reply.json()['access_token']}"}
        self._url = str(stack.ready(SESSION_POOL)["env"]["POOL_MANAGEMENT_ENDPOINT"])

    def send(self, method: str, path: str, session_id: str) -> requests.Response:
        query = {"api-version": "2025-10-02-preview", "identifier": session_identifier("", session_id)}
        return requests.request(method, self._url + path, params=query, headers=self._headers, timeout=BOUND_SECONDS)


class Crash:
    """Four runs, each at another point when the host is killed, and what became of them; one wait is enough for all."""

    QUEUED, CALLING, EXECUTING, LOST = (task_name(number) for number in range(1, 5))

    def __init__(self) -> None:
        # Long enough to be under way when everything else is in its place.
        self.model = CountedModel(marking_script(5))
        self.model.held |= {(self.QUEUED, 0), (self.CALLING, 1), (self.LOST, 1)}
        self.replies: dict[str, dict[str, Any]] = {}

    def play(self) -> Crash:
        with counted_stack(self.model, lease_seconds=LEASE_SECONDS) as stack:
            pool = Pool(stack)
            runs = {task: post(stack, task) for task in (self.QUEUED, self.CALLING, self.LOST)}
            for task, turn in self.model.held:
                self.model.wait_asked(task, turn)
            runs[self.EXECUTING] = post(stack, self.EXECUTING)
            self._wait_executing(pool, runs[self.EXECUTING])
            stack.kill_part(HOST)
            assert pool.send("DELETE", "/session", runs[self.LOST]["session_id"]).status_code // 100 == 2
            self.model.held.clear()
            stack.start_part(HOST)
            self.replies = {task: ended(run["status_url"]) for task, run in runs.items()}
        return self

    def _wait_executing(self, pool: Pool, run: dict[str, Any]) -> None:
        """Waits until the code has left its first mark; it goes on for seconds."""
        deadline = time.monotonic() + BOUND_SECONDS
        while self.EXECUTING not in pool.send("GET", "/files", run["session_id"]).text:
            assert time.monotonic() < deadline, "the code does not begin"

    def calls(self, task: str) -> list[int]:
        return self.model.calls(task, TURNS)


def run_callback_scene(folder: Path) -> Any:
    return public_network.run_inside("tests.logic_apps.callback_crash_scene", folder)


@pytest.fixture(scope="module")
def plays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """What the tests need, all at the same time: most of it is waiting until the lease of a killed host is over."""
    known: dict[str, Callable[[], Any]] = {
        "crash": lambda: Crash().play(),
        "callback_scene": lambda: run_callback_scene(tmp_path_factory.mktemp("network")),
        "killed": lambda: soak(KILLS),
        "cut_off": lambda: soak(OUTAGES),
    }
    if public_network.missing():
        del known["callback_scene"]
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor(len(known)) as threads:
        yield {name: threads.submit(play) for name, play in known.items() if name in wanted}


@pytest.fixture(scope="module")
def crash(plays: dict[str, Future[Crash]]) -> Crash:
    return plays["crash"].result()


@pytest.fixture(scope="module")
def callback_scene(plays: dict[str, Future[dict[str, Any]]]) -> dict[str, Any]:
    need(public_network.missing())
    return plays["callback_scene"].result()


@pytest.fixture(scope="module")
def killed(plays: dict[str, Future[Outcome]]) -> Outcome:
    return plays["killed"].result()


@pytest.fixture(scope="module")
def cut_off(plays: dict[str, Future[Outcome]]) -> Outcome:
    return plays["cut_off"].result()


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


def test_killed_at_random_all_runs_end_and_none_twice(killed: Outcome) -> None:
    assert_each_once(killed, KILLS)
    assert killed.kills == KILLS.kills
    assert killed.cut_off >= KILLS.kills
    # What was cut off is all that was done again, and that is one call at most of each run that was under way.
    needed = TURNS * KILLS.runs
    assert needed + killed.cut_off <= killed.model_calls <= needed + KILLS.kills * KILLS.at_once


def test_storage_stopped_and_started_under_load_costs_no_run(cut_off: Outcome) -> None:
    assert_each_once(cut_off, OUTAGES)
    assert cut_off.outages == OUTAGES.outages
    assert cut_off.model_calls >= TURNS * OUTAGES.runs


def assert_each_once(outcome: Outcome, wanted: Soak) -> None:
    assert outcome.statuses == {"completed": wanted.runs}
    assert outcome.recorded == wanted.runs
    assert outcome.twice == []
    assert sum(map(len, outcome.marks.values())) == EXECUTIONS * wanted.runs


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
