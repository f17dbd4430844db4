"""What refusals look like."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from tests.parity.pool import Emulator, Pool, error_code

Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(pool: Pool, session: str) -> Ask:
    """Calls the shared session."""
    return lambda method, path, **more: pool.request(method, path, session, **more)


@pytest.mark.parity("ERR-01", "HEAD-06")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/files/none.txt", 404), ("GET", "/session", 404), ("POST", "/executions", 400)],
)
def test_errors_have_an_envelope_and_a_header(pool: Pool, ask: Ask, method: str, path: str, status: int) -> None:
    reply = pool.request(method, path, pool.new_identifier(), json={} if method == "POST" else None)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert error["message"]
    assert reply.headers["x-ms-error-code"] == error["code"]


@pytest.mark.parity("ERR-03")
@pytest.mark.parametrize(("method", "path"), [("DELETE", "/executions"), ("PUT", "/files"), ("POST", "/metadata")])
def test_a_method_that_an_operation_does_not_have_is_invalid(ask: Ask, method: str, path: str) -> None:
    reply = ask(method, path)
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")
    assert reply.json()["error"]["target"] == "method"


@pytest.mark.parity("ERR-04")
@pytest.mark.parametrize("content", [b"{", b"", b"\xff", b"not json"])
def test_a_body_that_is_no_json_is_told_in_problem_details(ask: Ask, content: bytes) -> None:
    reply = ask("POST", "/executions", data=content, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
    problem = reply.json()
    assert problem["title"] == "One or more validation errors occurred."
    assert problem["status"] == 400
    assert problem["errors"]


@pytest.mark.parity("ERR-05")
@pytest.mark.parametrize("path", ["/nothing", "/executions/a/b", "/files/a/b/c"])
def test_an_operation_that_no_version_has_is_not_found(ask: Ask, path: str) -> None:
    assert ask("GET", path).status_code == 404


@pytest.mark.parity("ERR-06")
@pytest.mark.local_only("a real pool has no bad days on request")
@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_pass(local: Emulator, pool: Pool, ask: Ask, session: str, status: int) -> None:
    with local.fault(kind="status", status=status, retry_after=1, count=1, session=session):
        reply = ask("GET", "/files")
        assert (reply.status_code, reply.headers["retry-after"]) == (status, "1")
        assert ask("GET", "/files").status_code == 200
