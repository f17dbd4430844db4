"""The pool's client against a server that answers as no emulator should.

The same client against real sessions: tests/integration.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.credentials import AccessToken

from shared import errors
from shared.deadline import Deadline
from shared.identity import BearerTokens
from shared.session_pool import SessionPool
from tests.scripted_server import Answer, Received, scripted_server

OK = json.dumps({"id": "e", "status": "Succeeded", "result": {"stdout": "hi\n", "executionResult": ""}}).encode()
IDENTIFIER = "0123456789abcdef"


class Credential:
    def __init__(self) -> None:
        self.count = 0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.count += 1
        return AccessToken(f"token-{self.count}", 9_999_999_999)


class Sleeps(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(url: str, sleeps: Sleeps | None = None, **options: Any) -> SessionPool:
    tokens = BearerTokens("scope", credential=Credential())
    return SessionPool(url + "/pool/", tokens=tokens, sleep=sleeps if sleeps is not None else Sleeps(), **options)


def execute(pool: SessionPool, seconds: float = 30) -> str:
    return pool.execute(IDENTIFIER, "print('hi')", timeout_seconds=20, deadline=Deadline.after(seconds)).stdout


def always(answer: Answer) -> Callable[[int, Received], Answer]:
    return lambda number, request: answer


def test_a_request_is_what_the_contract_says() -> None:
    with scripted_server(always(Answer(body=OK))) as server:
        assert execute(client(server.url)) == "hi\n"
    request = server.received[0]
    parts = urlsplit(request.path)
    assert (request.method, parts.path) == ("POST", "/pool/executions")
    assert parse_qs(parts.query) == {"api-version": ["2025-10-02-preview"], "identifier": [IDENTIFIER]}
    assert request.headers["authorization"] == "Bearer token-1"
    assert request.headers["user-agent"].startswith("autogen-aca-sessions/")
    assert json.loads(request.body)["timeoutInSeconds"] == 20


def test_a_token_that_is_refused_once_is_renewed() -> None:
    with scripted_server(lambda number, _: Answer(401, b"") if number == 0 else Answer(body=OK)) as server:
        assert execute(client(server.url)) == "hi\n"
    assert [request.headers["authorization"] for request in server.received] == ["Bearer token-1", "Bearer token-2"]


def test_a_lasting_401_names_the_api_version() -> None:
    with scripted_server(always(Answer(401, b""))) as server, pytest.raises(errors.PoolUnauthorized) as caught:
        execute(client(server.url))
    assert "SESSION_POOL_API_VERSION" in caught.value.remedy


def test_a_403_names_the_roles() -> None:
    with scripted_server(always(Answer(403, b""))) as server, pytest.raises(errors.PoolForbidden) as caught:
        execute(client(server.url))
    assert "Azure ContainerApps Session Executor" in caught.value.remedy


def test_code_that_may_have_run_is_not_sent_twice() -> None:
    with scripted_server(always(Answer(hang_up=True))) as server, pytest.raises(errors.PoolOutcomeUnknown):
        execute(client(server.url))
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_nor_after_an_error_of_the_service(status: int) -> None:
    with scripted_server(always(Answer(status, b""))) as server, pytest.raises(errors.PoolOutcomeUnknown):
        execute(client(server.url))
    assert len(server.received) == 1


def test_a_refusal_with_a_time_to_come_back_has_not_run_the_code() -> None:
    busy = Answer(503, b"", {"Retry-After": "7"})
    with scripted_server(always(busy)) as server, pytest.raises(errors.PoolUnavailable) as caught:
        execute(client(server.url))
    assert caught.value.retry_after_seconds == 7
    assert len(server.received) > 1


def test_a_full_pool_is_asked_again_when_it_says() -> None:
    sleeps = Sleeps()
    full = Answer(429, b'{"code": "SessionsCountExceedsLimit"}', {"Retry-After": "3"})
    with scripted_server(lambda number, _: full if number < 2 else Answer(body=OK)) as server:
        assert execute(client(server.url, sleeps)) == "hi\n"
    assert sleeps == [3, 3]


def test_it_is_not_waited_for_beyond_the_deadline() -> None:
    full = Answer(429, b"", {"Retry-After": "60"})
    sleeps = Sleeps()
    with scripted_server(always(full)) as server, pytest.raises(errors.PoolFull) as caught:
        execute(client(server.url, sleeps), seconds=5)
    assert sleeps == []
    assert caught.value.retry_after_seconds == 60


def test_reading_is_tried_again() -> None:
    listing = Answer(body=b'{"value": []}')
    with scripted_server(lambda number, _: Answer(hang_up=True) if number < 2 else listing) as server:
        assert client(server.url).list_files(IDENTIFIER, deadline=Deadline.after(30)) == []
    assert len(server.received) == 3


def test_an_unreachable_pool_is_told_apart_and_named_by_its_setting() -> None:
    with scripted_server(always(Answer())) as server:
        url = server.url
    with pytest.raises(errors.PoolUnreachable) as caught:
        execute(client(url))
    assert "POOL_MANAGEMENT_ENDPOINT" in caught.value.remedy
    assert "127.0.0.1" not in str(caught.value)


def test_after_the_deadline_nothing_is_sent() -> None:
    with scripted_server(always(Answer(body=OK))) as server, pytest.raises(errors.DeadlineReached):
        execute(client(server.url), seconds=0)
    assert server.received == []


def test_pages_are_followed_on_the_own_host_only() -> None:
    def page(number: int, request: Received) -> Answer:
        link = "/pool/files?page=2" if number == 0 else "https://elsewhere.example/files"
        return Answer(body=json.dumps({"value": [{"name": f"f{number}", "type": "file"}], "nextLink": link}).encode())

    with scripted_server(page) as server, pytest.raises(errors.PoolRefused, match="another host"):
        client(server.url).list_files(IDENTIFIER, deadline=Deadline.after(30))
    assert len(server.received) == 2


def test_pages_that_never_end_are_left() -> None:
    def page(number: int, request: Received) -> Answer:
        return Answer(body=json.dumps({"value": [], "nextLink": f"/pool/files?page={number}"}).encode())

    with scripted_server(page) as server:
        assert client(server.url).list_files(IDENTIFIER, deadline=Deadline.after(20)) == []
    assert len(server.received) == 101


def test_a_malformed_link_is_refused() -> None:
    with (
        scripted_server(always(Answer(body=b'{"value": [], "nextLink": "http://[x"}'))) as server,
        pytest.raises(errors.PoolRefused),
    ):
        client(server.url).list_files(IDENTIFIER, deadline=Deadline.after(30))


def test_an_execution_that_has_not_ended_is_asked_for_every_second() -> None:
    sleeps = Sleeps()
    states = ["Running", "NotStarted", "Running"]

    def answer(number: int, request: Received) -> Answer:
        if number < len(states):
            return Answer(202, json.dumps({"id": "e/1", "status": states[number]}).encode())
        return Answer(body=OK)

    with scripted_server(answer) as server:
        assert execute(client(server.url, sleeps)) == "hi\n"
    assert sleeps == [1, 1, 1]
    asked = [(request.method, urlsplit(request.path).path) for request in server.received[1:]]
    assert asked == [("GET", "/pool/executions/e%2F1")] * 3
    assert parse_qs(urlsplit(server.received[1].path).query)["identifier"] == [IDENTIFIER]


def test_a_new_session_is_told_by_the_first_answer() -> None:
    running = Answer(202, b'{"id": "e", "status": "Running"}', {"x-ms-new-allocation": "true"})
    with scripted_server(lambda number, _: running if number == 0 else Answer(body=OK)) as server:
        pool = client(server.url)
        execution = pool.execute(IDENTIFIER, "1", timeout_seconds=20, deadline=Deadline.after(30))
    assert execution.new_allocation


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b'{"status": "Running"}', Answer(body=OK)),
        (b'{"id": "e", "status": "Running"}', Answer(404, b"")),
        (b'{"id": "e", "status": "Running"}', Answer(body=b"<html>")),
        (b'{"id": "e", "status": "Running"}', Answer(hang_up=True)),
    ],
)
def test_an_execution_that_cannot_be_asked_for_has_an_unknown_outcome(first: bytes, then: Answer) -> None:
    with (
        scripted_server(lambda number, _: Answer(202, first) if number == 0 else then) as server,
        pytest.raises(errors.PoolOutcomeUnknown),
    ):
        execute(client(server.url))


def test_an_execution_that_never_ends_is_left_at_the_deadline() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with scripted_server(always(Answer(202, b'{"id": "e", "status": "Running"}'))) as server:
        tokens = BearerTokens("scope", credential=Credential())
        pool = SessionPool(server.url + "/pool", tokens=tokens, sleep=sleep)
        with pytest.raises(errors.DeadlineReached):
            pool.execute(IDENTIFIER, "1", timeout_seconds=5, deadline=Deadline.after(10, lambda: now))
    assert (now, len(server.received)) == (9, 10)


def test_a_file_that_is_not_there_is_told_apart_whatever_the_body() -> None:
    with scripted_server(always(Answer(404, b""))) as server:
        pool = client(server.url)
        with pytest.raises(errors.SessionFileNotFound):
            pool.download(IDENTIFIER, "a", deadline=Deadline.after(30))
        with pytest.raises(errors.SessionFileNotFound):
            pool.delete_file(IDENTIFIER, "a", deadline=Deadline.after(30))


def test_redirects_are_not_followed_with_the_token() -> None:
    away = Answer(307, b"", {"Location": "https://elsewhere.example/"})
    with scripted_server(always(away)) as server, pytest.raises(errors.PoolRefused):
        execute(client(server.url))
    assert len(server.received) == 1


@pytest.mark.parametrize("code", ["NoSessionFoundError", "SessionWithIdentifierNotFound"])
def test_a_session_that_is_gone_is_no_error(code: str) -> None:
    body = json.dumps({"error": {"code": code}}).encode()
    with scripted_server(always(Answer(404 if code.startswith("No") else 400, body))) as server:
        pool = client(server.url)
        assert not pool.session_exists(IDENTIFIER, deadline=Deadline.after(30))
        assert not pool.delete_session(IDENTIFIER, deadline=Deadline.after(30))


def test_file_names_are_encoded() -> None:
    with scripted_server(always(Answer(body=b"data"))) as server:
        content = client(server.url).download(IDENTIFIER, "out/a b#1.csv", deadline=Deadline.after(30))
    assert content == b"data"
    parts = urlsplit(server.received[0].path)
    assert parts.path == "/pool/files/a%20b%231.csv/content"
    assert parse_qs(parts.query)["path"] == ["out"]


def given_seconds(timeout_seconds: float, deadline_seconds: float) -> int:
    with scripted_server(always(Answer(body=OK))) as server:
        deadline = Deadline.after(deadline_seconds)
        client(server.url).execute(IDENTIFIER, "1", timeout_seconds=timeout_seconds, deadline=deadline)
    seconds: int = json.loads(server.received[0].body)["timeoutInSeconds"]
    return seconds


def test_code_is_given_what_the_service_allows_and_what_is_left_for_its_answer_to_arrive() -> None:
    assert given_seconds(1000, deadline_seconds=1000) == 220
    assert given_seconds(20, deadline_seconds=10) == 6
    assert given_seconds(20, deadline_seconds=2) == 1


def test_an_execution_says_what_its_code_was_given() -> None:
    with scripted_server(always(Answer(body=OK))) as server:
        execution = client(server.url).execute(IDENTIFIER, "1", timeout_seconds=20, deadline=Deadline.after(10))
    assert execution.timeout_seconds == json.loads(server.received[0].body)["timeoutInSeconds"] < 10


@pytest.mark.parametrize(("version", "limit"), [("2025-10-02-preview", 100_000), ("2025-02-02-preview", 4096)])
def test_a_stream_as_long_as_the_service_lets_it_be_counts_as_cut(version: str, limit: int) -> None:
    result = {"stdout": "x" * limit, "stderr": "x" * (limit - 1)}
    body = json.dumps({"status": "Succeeded", "result": result}).encode()
    with scripted_server(always(Answer(body=body))) as server:
        pool = client(server.url, api_version=version)
        execution = pool.execute(IDENTIFIER, "1", timeout_seconds=20, deadline=Deadline.after(30))
    assert (execution.stdout_cut, execution.stderr_cut) == (True, False)


def test_a_file_longer_than_asked_for_is_not_read_to_its_end() -> None:
    with scripted_server(always(Answer(body=b"12345"))) as server:
        pool = client(server.url)
        assert pool.download(IDENTIFIER, "a", deadline=Deadline.after(30), limit_bytes=5) == b"12345"
        with pytest.raises(errors.PoolLimitExceeded):
            pool.download(IDENTIFIER, "a", deadline=Deadline.after(30), limit_bytes=4)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "pool",
        "http://pool.example/x",
        "ftp://127.0.0.1",
        "http://127.0.0.1.example",
        "https://[x",
        "https://host:port/x",
    ],
)
def test_an_endpoint_has_to_be_https_or_on_this_machine(endpoint: str) -> None:
    with pytest.raises(errors.SettingError) as caught:
        SessionPool(endpoint, tokens=BearerTokens("scope", credential=Credential()))
    assert caught.value.name == "POOL_MANAGEMENT_ENDPOINT"
    assert "POOL_MANAGEMENT_ENDPOINT" in caught.value.detail


def found(pool: SessionPool, seconds: float = 30) -> str | None:
    execution = pool.find_execution(IDENTIFIER, "an id/..", timeout_seconds=20, deadline=Deadline.after(seconds))
    return execution.stdout if execution else None


def test_an_execution_carries_the_id_that_it_is_given() -> None:
    with scripted_server(always(Answer(body=OK))) as server:
        pool = client(server.url)
        pool.execute(IDENTIFIER, "1", timeout_seconds=20, deadline=Deadline.after(30), operation_id="mine")
        execute(pool)
        execute(pool)
    ids = [request.headers["operation-id"] for request in server.received]
    assert ids[0] == "mine"
    assert len(set(ids)) == 3


def test_an_execution_is_found_again_by_its_id() -> None:
    with scripted_server(always(Answer(body=OK))) as server:
        assert found(client(server.url)) == "hi\n"
    parts = urlsplit(server.received[0].path)
    assert (server.received[0].method, parts.path) == ("GET", "/pool/executions/an%20id%2F..")
    assert parse_qs(parts.query)["identifier"] == [IDENTIFIER]


@pytest.mark.parametrize("status", [400, 404, 405, 410])
def test_an_execution_that_the_session_does_not_know_is_none(status: int) -> None:
    with scripted_server(always(Answer(status, b""))) as server:
        assert found(client(server.url)) is None
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(401, errors.PoolUnauthorized), (403, errors.PoolForbidden), (500, errors.PoolUnavailable)]
)
def test_a_refusal_says_nothing_of_the_execution(status: int, error: type[errors.PoolError]) -> None:
    with scripted_server(always(Answer(status, b""))) as server, pytest.raises(error):
        found(client(server.url))


def test_an_execution_that_is_found_running_is_waited_for() -> None:
    running = Answer(body=json.dumps({"id": "e", "status": "Running"}).encode())
    sleeps = Sleeps()
    with scripted_server(lambda number, _: Answer(body=OK) if number == 3 else running) as server:
        assert found(client(server.url, sleeps)) == "hi\n"
    assert sleeps == [1, 1, 1]


def test_an_execution_that_is_found_running_is_waited_for_until_the_deadline() -> None:
    running = Answer(body=json.dumps({"id": "e", "status": "Running"}).encode())
    with scripted_server(always(running)) as server, pytest.raises(errors.DeadlineReached):
        found(client(server.url), seconds=0.9)
