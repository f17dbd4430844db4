"""Deadlines, attempts and sizes, against a server that behaves badly."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from shared import errors
from shared.deadline import Deadline
from shared.identity import BearerTokens
from shared.pool_transport import REPLY_BYTES_MAX, PoolTransport, Reply
from tests.scripted_server import Answer, Received, scripted_server

NEVER_ENDING = {
    "no answer": Answer(silent=True),
    "a body that drips": Answer(body=b" " * 1000, drip_seconds=0.05),
    "a body that drips until the connection ends": Answer(body=b" " * 1000, drip_seconds=0.05, unsized=True),
    "a body that stops": Answer(headers={"Content-Length": "100"}),
}


class Credential:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", 9_999_999_999)


@pytest.fixture
def sleeps() -> list[float]:
    return []


@pytest.fixture
def transport(sleeps: list[float]) -> PoolTransport:
    return PoolTransport(BearerTokens("scope", credential=Credential()), sleeps.append)


def always(answer: Answer) -> Callable[[int, Received], Answer]:
    return lambda number, request: answer


def run_code(transport: PoolTransport, url: str, *, within: float = 30, seconds: float = 30) -> Reply:
    deadline = Deadline.after(within)
    return transport.send("POST", url, deadline=deadline, seconds=seconds, repeatable=False, json={"code": "1"})


def read(transport: PoolTransport, url: str, **options: Any) -> Reply:
    return transport.send("GET", url, deadline=Deadline.after(30), seconds=30, **options)


@contextmanager
def soon() -> Iterator[None]:
    """What happens inside takes nothing like the server's patience."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("answer", NEVER_ENDING.values(), ids=NEVER_ENDING.keys())
def test_the_deadline_bounds_every_wait(transport: PoolTransport, answer: Answer) -> None:
    with scripted_server(always(answer)) as server, soon(), pytest.raises(errors.DeadlineReached):
        run_code(transport, server.url, within=0.3)
    assert len(server.received) == 1


@pytest.mark.parametrize("answer", NEVER_ENDING.values(), ids=NEVER_ENDING.keys())
def test_so_does_the_time_for_an_attempt_and_the_outcome_is_unknown(transport: PoolTransport, answer: Answer) -> None:
    with scripted_server(always(answer)) as server, soon(), pytest.raises(errors.PoolOutcomeUnknown):
        run_code(transport, server.url, seconds=0.3)
    assert len(server.received) == 1


def test_an_outcome_that_is_unknown_has_a_status_that_makes_nobody_ask_again() -> None:
    assert errors.PoolOutcomeUnknown.status not in (408, 429)
    assert errors.PoolOutcomeUnknown.status < 500


def test_a_body_that_drips_and_ends_in_time_is_complete(transport: PoolTransport) -> None:
    with scripted_server(always(Answer(body=b"whole", drip_seconds=0.01))) as server:
        assert run_code(transport, server.url).body == b"whole"


def test_code_is_sent_again_where_no_connection_was_had(transport: PoolTransport, sleeps: list[float]) -> None:
    with scripted_server(always(Answer())) as server:
        gone = server.url
    with pytest.raises(errors.PoolUnreachable):
        run_code(transport, gone)
    assert sleeps == [0.5, 1, 2]


def test_code_is_sent_again_where_the_service_says_when(transport: PoolTransport, sleeps: list[float]) -> None:
    busy = Answer(503, b"", {"Retry-After": "2"})
    with scripted_server(lambda number, _: busy if number == 0 else Answer()) as server:
        assert run_code(transport, server.url).status_code == 200
    assert sleeps == [2]


def test_code_is_not_sent_again_where_it_does_not(transport: PoolTransport) -> None:
    with scripted_server(always(Answer(503, b""))) as server:
        assert run_code(transport, server.url).status_code == 503
    assert len(server.received) == 1


def test_reading_without_an_answer_says_nothing_of_code(transport: PoolTransport) -> None:
    with scripted_server(always(Answer(hang_up=True))) as server, pytest.raises(errors.PoolUnreachable):
        read(transport, server.url)
    assert len(server.received) == 4


def test_a_failed_handshake_sends_nothing(transport: PoolTransport, sleeps: list[float]) -> None:
    with scripted_server(always(Answer())) as server, pytest.raises(errors.PoolUnreachable):
        run_code(transport, server.url.replace("http:", "https:"))
    assert len(sleeps) == 3


def test_a_proxy_that_is_not_there_sends_nothing(transport: PoolTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(always(Answer())) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(errors.PoolUnreachable):
        run_code(transport, "https://pool.example/executions")


@pytest.mark.parametrize("url", ["https://.pool.example", "https://a b/", "https://" + "a" * 70 + ".example"])
def test_an_address_that_cannot_be_one_sends_nothing(transport: PoolTransport, url: str) -> None:
    with pytest.raises(errors.PoolUnreachable) as caught:
        run_code(transport, url)
    assert "POOL_MANAGEMENT_ENDPOINT" in caught.value.remedy


def test_a_body_arrives_whole(transport: PoolTransport) -> None:
    content = b"x" * 300_000
    with scripted_server(always(Answer())) as server:
        transport.send("POST", server.url, deadline=Deadline.after(30), seconds=30, files={"file": ("a", content)})
    assert content in server.received[0].body
    assert "transfer-encoding" not in server.received[0].headers


def test_requests_share_a_connection_until_it_is_closed(transport: PoolTransport) -> None:
    with scripted_server(always(Answer())) as server:
        for _ in range(2):
            read(transport, server.url)
        transport.close()
        read(transport, server.url)
    first, second, third = (request.client_port for request in server.received)
    assert first == second != third


def test_no_cookie_goes_from_one_reply_to_the_next_request(transport: PoolTransport) -> None:
    with scripted_server(always(Answer(headers={"Set-Cookie": "who=anna; Path=/"}))) as server:
        read(transport, server.url)
        read(transport, server.url)
    assert "cookie" not in server.received[1].headers


def test_a_reply_that_announces_too_much_is_not_read(transport: PoolTransport) -> None:
    announced = Answer(headers={"Content-Length": str(REPLY_BYTES_MAX + 1)})
    with scripted_server(always(announced)) as server, soon(), pytest.raises(errors.PoolLimitExceeded):
        run_code(transport, server.url)


def test_a_reply_that_unfolds_to_too_much_is_not_read_to_its_end(transport: PoolTransport) -> None:
    folded = Answer(body=gzip.compress(bytes(1_000_000)), headers={"Content-Encoding": "gzip"})
    with scripted_server(always(folded)) as server:
        assert len(read(transport, server.url, limit_bytes=1_000_000).body) == 1_000_000
        with pytest.raises(errors.PoolLimitExceeded):
            read(transport, server.url, limit_bytes=999_999)
