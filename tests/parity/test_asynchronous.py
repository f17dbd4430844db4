"""Asynchronous executions: accepted at once, asked for until they have ended."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.parity.pool import Pool

BOUND_SECONDS = 30


def outcome(pool: Pool, identifier: str, execution: str) -> dict[str, Any]:
    """An execution once it has ended; each request takes its time, so there is no pause between them."""
    until = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < until:
        reply = pool.request("GET", f"/executions/{execution}", identifier)
        assert reply.status_code == 200
        found: dict[str, Any] = reply.json()
        if found["status"] not in ("NotStarted", "Running"):
            return found
    raise AssertionError("it has not ended")


def begin(pool: Pool, identifier: str, code: str) -> str:
    reply = pool.execute(code, identifier, executionType="Asynchronous")
    assert reply.status_code == 202
    return str(reply.json()["id"])


@pytest.mark.parity("ASYNC-01")
def test_it_is_accepted_at_once(pool: Pool, session: str) -> None:
    pool.run("1", session)
    began = time.monotonic()
    reply = pool.execute("import time; time.sleep(1)", session, executionType="Asynchronous")
    assert time.monotonic() - began < 1
    execution = reply.headers["operation-id"]
    expected = {"id": execution, "identifier": session, "executionType": "Asynchronous", "status": "Running"}
    assert (reply.status_code, reply.json()) == (202, expected)


@pytest.mark.parity("ASYNC-02")
def test_its_result_comes_when_it_has_ended(pool: Pool, session: str) -> None:
    execution = begin(pool, session, "import time; time.sleep(1); print('done'); 5")
    running = pool.request("GET", f"/executions/{execution}", session).json()
    assert (running["status"], "result" in running) == ("Running", False)
    found = outcome(pool, session, execution)
    assert (found["id"], found["executionType"], found["status"]) == (execution, "Asynchronous", "Succeeded")
    assert (found["result"]["stdout"], found["result"]["executionResult"]) == ("done\n", 5)


@pytest.mark.parity("ASYNC-02")
def test_its_failure_too(pool: Pool, session: str) -> None:
    found = outcome(pool, session, begin(pool, session, "1 / 0"))
    assert found["status"] == "Failed"
    assert "ZeroDivisionError" in found["result"]["stderr"]


@pytest.mark.parity("ASYNC-02", "HEAD-02")
def test_the_operation_location_leads_to_it(pool: Pool, session: str) -> None:
    reply = pool.execute("5", session, executionType="Asynchronous")
    location = reply.headers["operation-location"]
    assert location.startswith("/executions/")
    found = pool.request("GET", location, version=None)
    assert (found.status_code, found.json()["id"]) == (200, reply.json()["id"])


@pytest.mark.parity("ASYNC-03")
def test_synchronous_executions_are_kept_too(pool: Pool, session: str) -> None:
    found = pool.run("print('once')", session)
    again = pool.request("GET", f"/executions/{found['id']}", session)
    assert (again.status_code, again.json()) == (200, found)


@pytest.mark.parity("ASYNC-04")
def test_an_execution_of_another_session_is_not_found(pool: Pool, session: str, fresh: str) -> None:
    found = pool.run("1", session)
    pool.run("1", fresh)
    assert pool.request("GET", f"/executions/{found['id']}", fresh).status_code == 404


@pytest.mark.parity("ASYNC-05")
def test_deleting_the_session_ends_it(pool: Pool, fresh: str) -> None:
    pool.run("1", fresh)
    execution = begin(pool, fresh, "import time; time.sleep(30)")
    began = time.monotonic()
    assert pool.request("DELETE", "/session", fresh).status_code == 204
    assert pool.request("GET", f"/executions/{execution}", fresh).status_code == 404
    assert time.monotonic() - began < 20
