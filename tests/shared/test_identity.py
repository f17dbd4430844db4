"""The bearer-token policy, and the process's own credential against an identity endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from shared.deadline import Deadline
from shared.errors import DeadlineReached, IdentityError
from shared.identity import (
    FAILURE_SECONDS,
    POOL_SCOPE,
    BearerTokens,
    is_safe_address,
    is_web_address,
    process_credential,
    process_tokens,
)
from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Credential:
    """Gives numbered tokens that live an hour, once it is let; counts how often it is asked."""

    clock: Clock
    asked: int = 0
    failure: Exception | None = None
    let: threading.Event = field(default_factory=threading.Event)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.asked += 1
        number = self.asked
        assert self.let.wait(10)
        if self.failure is not None:
            raise self.failure
        return AccessToken(f"token-{number}", int(self.clock.now) + 3600)


@dataclass
class Reply:
    status_code: int


def policy() -> tuple[BearerTokens, Credential, Clock]:
    clock = Clock()
    credential = Credential(clock)
    credential.let.set()
    return BearerTokens("scope/.default", credential=credential, clock=clock), credential, clock


def soon() -> Deadline:
    return Deadline.after(10)


def let_fetches_end() -> None:
    for thread in threading.enumerate():
        if thread.name == "identity-token":
            thread.join(10)
            assert not thread.is_alive()


def test_a_token_is_kept_until_five_minutes_before_its_end_and_the_next_one_fetched_meanwhile() -> None:
    tokens, credential, clock = policy()
    assert tokens.token(soon()) == "token-1"
    clock.now += 3600 - 301
    assert tokens.token(soon()) == "token-1"
    assert credential.asked == 1
    clock.now += 2
    credential.let.clear()
    assert {tokens.token(Deadline.after(0)) for _ in range(5)} == {"token-1"}
    credential.let.set()
    let_fetches_end()
    assert tokens.token(soon()) == "token-2"
    assert credential.asked == 2


def test_a_refused_token_is_dropped_and_the_request_tried_once_more() -> None:
    tokens, _, _ = policy()
    seen: list[str] = []

    def send(token: str) -> Reply:
        seen.append(token)
        return Reply(401 if len(seen) == 1 else 200)

    assert tokens.send(send, soon()).status_code == 200
    assert seen == ["token-1", "token-2"]


def test_a_second_refusal_is_the_answer() -> None:
    tokens, credential, _ = policy()
    assert tokens.send(lambda token: Reply(401), soon()).status_code == 401
    assert credential.asked == 2


def test_while_renewal_fails_the_old_token_serves_until_its_end() -> None:
    tokens, credential, clock = policy()
    tokens.token(soon())
    credential.failure = ClientAuthenticationError("https://secret.example said no to abc")
    clock.now += 3400
    assert tokens.token(soon()) == "token-1"
    let_fetches_end()
    clock.now += 200
    with pytest.raises(IdentityError) as caught:
        tokens.token(soon())
    assert "example" not in str(caught.value)
    assert "AZURE_CLIENT_ID" in caught.value.remedy


@pytest.mark.parametrize("failure", [ClientAuthenticationError("no"), AttributeError("no"), RuntimeError(), KeyError()])
def test_whatever_a_credential_raises_is_an_identity_error(failure: Exception) -> None:
    tokens, credential, _ = policy()
    credential.failure = failure
    with pytest.raises(IdentityError, match=type(failure).__name__):
        tokens.token(soon())


def test_a_credential_that_hangs_holds_nobody_beyond_their_deadline() -> None:
    tokens, credential, _ = policy()
    credential.let.clear()

    def wait_a_moment(_: int) -> float:
        began = time.monotonic()
        with pytest.raises(DeadlineReached):
            tokens.token(Deadline.after(0.1))
        return time.monotonic() - began

    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(wait_a_moment, range(4))) < 5
    credential.let.set()
    assert tokens.token(soon()) == "token-1"
    assert credential.asked == 1


def test_all_who_wait_share_one_failure_for_a_few_seconds() -> None:
    tokens, credential, clock = policy()
    credential.failure = ClientAuthenticationError("no")
    for _ in range(3):
        with pytest.raises(IdentityError):
            tokens.token(soon())
    assert credential.asked == 1
    credential.failure = None
    clock.now += FAILURE_SECONDS
    assert tokens.token(soon()) == "token-2"


def test_dropping_an_old_token_keeps_the_new_one() -> None:
    tokens, credential, _ = policy()
    tokens.token(soon())
    tokens.drop("another")
    assert tokens.token(soon()) == "token-1"
    assert credential.asked == 1


def test_many_threads_share_one_token() -> None:
    tokens, credential, _ = policy()
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: tokens.token(soon()), range(200))) == {"token-1"}
    assert credential.asked == 1


@contextmanager
def identity_endpoint(monkeypatch: pytest.MonkeyPatch, *bodies: str) -> Iterator[ScriptedServer]:
    """App Service's endpoint and variables; answers with numbered tokens, or with `bodies`."""

    def answer(number: int, request: Received) -> Answer:
        token = {"access_token": f"token-{number + 1}", "expires_on": "9999999999", "token_type": "Bearer"}
        return Answer(body=(bodies[number] if bodies else json.dumps(token)).encode())

    with scripted_server(answer) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        # A developer's sign-in that must not be asked where there is a managed identity.
        monkeypatch.setenv("AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000000")
        monkeypatch.setenv("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000001")
        monkeypatch.setenv("AZURE_CLIENT_SECRET", "none")
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://127.0.0.1:9")
        process_credential.cache_clear()
        process_tokens.cache_clear()
        try:
            yield server
        finally:
            process_credential.cache_clear()
            process_tokens.cache_clear()


def test_in_azure_the_managed_identity_is_asked_by_its_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with identity_endpoint(monkeypatch) as server:
        assert process_tokens(POOL_SCOPE, "the-client-id").token(soon()) == "token-1"
    query = parse_qs(urlsplit(server.received[0].path).query)
    assert query["resource"] == ["https://dynamicsessions.io"]
    assert query["client_id"] == ["the-client-id"]
    assert server.received[0].headers["x-identity-header"] == "header"


def test_the_system_assigned_one_has_no_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with identity_endpoint(monkeypatch) as server:
        assert process_tokens(POOL_SCOPE).token(soon()) == "token-1"
    assert "client_id" not in server.received[0].path


def test_a_refused_token_does_not_come_back_from_the_credentials_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with identity_endpoint(monkeypatch):
        seen: list[str] = []

        def send(token: str) -> Reply:
            seen.append(token)
            return Reply(401)

        process_tokens(POOL_SCOPE).send(send, soon())
    assert seen == ["token-1", "token-2"]


@pytest.mark.parametrize("body", ["{}", "[]", "<html>", "null", ""])
def test_an_endpoint_that_answers_nonsense_is_an_identity_error(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    with identity_endpoint(monkeypatch, body), pytest.raises(IdentityError):
        process_tokens(POOL_SCOPE).token(soon())


@pytest.mark.parametrize(
    ("address", "web", "safe"),
    [
        ("https://pool.example/x", True, True),
        ("https://pool.example:8443", True, True),
        ("http://pool.example", True, False),
        ("http://127.0.0.1:7072/x", True, True),
        ("http://localhost", True, True),
        ("http://[::1]:1", True, True),
        ("http://127.0.0.1.example", True, False),
        ("https://[x", False, False),
        ("https://host:port/x", False, False),
        ("https://host:99999", False, False),
        ("https://", False, False),
        ("localhost:11434/v1", False, False),
        ("ftp://127.0.0.1", False, False),
        ("", False, False),
    ],
)
def test_addresses(address: str, web: bool, safe: bool) -> None:
    assert (is_web_address(address), is_safe_address(address)) == (web, safe)
