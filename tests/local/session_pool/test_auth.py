"""Which tokens pass, with an identity whose keys are served over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from local.identity import Identity
from local.session_pool.auth import TokenCheck, keys_at
from local.session_pool.errors import Refusal
from tests.scripted_server import Answer, ScriptedServer, scripted_server

AUDIENCE = "https://dynamicsessions.io"


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity("example-header")


@pytest.fixture
def keys(identity: Identity) -> Iterator[ScriptedServer]:
    body = json.dumps(identity.key_set()).encode()
    with scripted_server(lambda number, request: Answer(body=body)) as server:
        yield server


def status(url: str, *authorizations: str) -> int:
    """200 where all pass, else the status of the first refusal, which has to be without a body."""

    async def check() -> int:
        tokens = TokenCheck(keys_at(url), AUDIENCE)
        try:
            for authorization in authorizations:
                await tokens.check(authorization)
        except Refusal as refusal:
            return refusal.status if refusal.body() is None else 0
        return 200

    return asyncio.run(check())


@pytest.mark.parametrize("audience", [AUDIENCE, AUDIENCE + "/"])
def test_token_for_the_pool_passes_and_keys_are_fetched_once(
    identity: Identity, keys: ScriptedServer, audience: str
) -> None:
    token, _ = identity.token(audience)
    assert status(keys.url, f"Bearer {token}", f"bearer {token}") == 200
    assert len(keys.received) == 1


def test_token_for_somebody_else_is_refused(identity: Identity, keys: ScriptedServer) -> None:
    token, _ = identity.token("https://management.azure.com")
    assert status(keys.url, f"Bearer {token}") == 401


def test_expired_token_is_refused() -> None:
    old = Identity("example-header", lifetime_seconds=60, clock=lambda: time.time() - 3600)
    token, _ = old.token(AUDIENCE)
    with scripted_server(lambda number, request: Answer(body=json.dumps(old.key_set()).encode())) as server:
        assert status(server.url, f"Bearer {token}") == 401


def test_token_of_another_signer_is_refused(keys: ScriptedServer) -> None:
    token, _ = Identity("example-header").token(AUDIENCE)
    assert status(keys.url, f"Bearer {token}") == 401


def test_changed_token_is_refused(identity: Identity, keys: ScriptedServer) -> None:
    token, _ = identity.token(AUDIENCE)
    head, claims, _ = token.split(".")
    other = identity.token("https://example.com")[0].split(".")[2]
    assert status(keys.url, f"Bearer {head}.{claims}.{other}") == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer garbage", "Basic YTpi", "Bearer a.b.c"])
def test_garbage_is_refused_without_asking_for_keys(keys: ScriptedServer, authorization: str) -> None:
    assert status(keys.url, authorization) == 401
    assert keys.received == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang_up=True),
        Answer(body=b"no JSON"),
        Answer(body=b"[]"),
        Answer(body=b'{"keys": 5}'),
        Answer(body=b'{"keys": [{}]}'),
    ],
)
def test_unusable_keys_refuse_everybody(identity: Identity, answer: Answer) -> None:
    token, _ = identity.token(AUDIENCE)
    with scripted_server(lambda number, request: answer) as server:
        assert status(server.url, f"Bearer {token}") == 401


def test_unknown_keys_are_not_looked_for_at_every_request(keys: ScriptedServer) -> None:
    token, _ = Identity("example-header").token(AUDIENCE)

    async def check() -> None:
        tokens = TokenCheck(keys_at(keys.url), AUDIENCE)
        for _ in range(5):
            with pytest.raises(Refusal):
                await tokens.check(f"Bearer {token}")

    asyncio.run(check())
    assert len(keys.received) == 1


@pytest.mark.parametrize(("age", "passes"), [(9, True), (11, False)])
def test_token_older_than_the_life_asked_for_counts_as_expired(age: float, passes: bool) -> None:
    now = time.time()
    identity = Identity("example-header", clock=lambda: now)
    token, _ = identity.token(AUDIENCE)

    async def keys() -> dict[str, object]:
        return identity.key_set()

    async def check() -> bool:
        tokens = TokenCheck(keys, AUDIENCE, clock=lambda: int(now) + age)
        try:
            await tokens.check(f"Bearer {token}", life_seconds=10)
        except Refusal:
            return False
        return True

    assert asyncio.run(check()) is passes
