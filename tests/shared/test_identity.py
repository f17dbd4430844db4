"""The bearer-token policy."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from shared.errors import IdentityError
from shared.identity import BearerTokens


@dataclass
class Credential:
    """Gives numbered tokens that live an hour; counts how often it is asked."""

    clock: Clock
    asked: int = 0
    fails: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        with self.lock:
            self.asked += 1
            if self.fails:
                raise ClientAuthenticationError("https://secret.example said no to abc")
            return AccessToken(f"token-{self.asked}", int(self.clock.now) + 3600)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status_code: int


def policy() -> tuple[BearerTokens, Credential, Clock]:
    clock = Clock()
    credential = Credential(clock)
    return BearerTokens("scope/.default", credential=credential, clock=clock), credential, clock


def test_a_token_is_kept_until_five_minutes_before_its_end() -> None:
    tokens, credential, clock = policy()
    assert tokens.token() == "token-1"
    clock.now += 3600 - 301
    assert tokens.token() == "token-1"
    clock.now += 2
    assert tokens.token() == "token-2"
    assert credential.asked == 2


def test_a_refused_token_is_dropped_and_the_request_tried_once_more() -> None:
    tokens, _, _ = policy()
    seen: list[str] = []

    def send(token: str) -> Answer:
        seen.append(token)
        return Answer(401 if len(seen) == 1 else 200)

    assert tokens.send(send).status_code == 200
    assert seen == ["token-1", "token-2"]


def test_a_second_refusal_is_the_answer() -> None:
    tokens, credential, _ = policy()
    assert tokens.send(lambda token: Answer(401)).status_code == 401
    assert credential.asked == 2


def test_while_renewal_fails_the_old_token_serves_until_its_end() -> None:
    tokens, credential, clock = policy()
    tokens.token()
    credential.fails = True
    clock.now += 3400
    assert tokens.token() == "token-1"
    clock.now += 200
    with pytest.raises(IdentityError) as caught:
        tokens.token()
    assert "example" not in str(caught.value)
    assert "AZURE_CLIENT_ID" in caught.value.remedy


def test_dropping_an_old_token_keeps_the_new_one() -> None:
    tokens, credential, _ = policy()
    tokens.token()
    tokens.drop("another")
    assert tokens.token() == "token-1"
    assert credential.asked == 1


def test_many_threads_share_one_token() -> None:
    tokens, credential, _ = policy()
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: tokens.token(), range(200))) == {"token-1"}
    assert credential.asked == 1
