"""The identity endpoint, called by the unmodified azure-identity library and by hand."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from azure.identity import ManagedIdentityCredential

from local.identity import Identity, create_app
from local.part import Part

HEADER = "example-header"
RESOURCE = "https://dynamicsessions.io"
QUERY = {"api-version": "2019-08-01", "resource": RESOURCE}
ROOT = Path(__file__).parents[2]


def get(app: Any, path: str, params: dict[str, str] | None = None, header: str | None = HEADER) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://identity") as client:
            headers = {} if header is None else {"X-IDENTITY-HEADER": header}
            return await client.get(path, params=params, headers=headers)

    return asyncio.run(ask())


def test_azure_identity_gets_a_token_that_the_published_keys_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(
        "identity",
        [sys.executable, "-m", "local.identity", "--with-parent"],
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
        folder=tmp_path,
        keep_log=True,
    )
    try:
        ready: Any = part.wait_ready(30)
        for name, value in ready["env"].items():
            monkeypatch.setenv(name, value)
        with ManagedIdentityCredential() as credential:
            token = credential.get_token(f"{RESOURCE}/.default")
        keys = httpx.get(ready["jwks_url"], trust_env=False, timeout=10).json()["keys"]
        key = next(key for key in keys if key["kid"] == jwt.get_unverified_header(token.token)["kid"])
        claims = jwt.decode(token.token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=RESOURCE)
        assert claims["exp"] == token.expires_on
        part.stop(20)
        assert not part.running
    finally:
        part.kill()


def test_lifetime_counts_from_the_clock() -> None:
    now = int(time.time())
    app = create_app(Identity(HEADER, lifetime_seconds=600, clock=lambda: now))
    body = get(app, "/msi/token", QUERY).json()
    assert body["expires_on"] == str(now + 600)
    assert body["token_type"] == "Bearer"
    assert body["resource"] == RESOURCE


@pytest.mark.parametrize("header", [None, "", "wrong", HEADER + "x"])
def test_wrong_header_gets_no_token(header: str | None) -> None:
    reply = get(create_app(Identity(HEADER)), "/msi/token", QUERY, header)
    assert reply.status_code == 401
    assert "access_token" not in reply.text
    assert HEADER not in reply.text


@pytest.mark.parametrize(
    "query",
    [
        {"resource": RESOURCE},
        {"resource": RESOURCE, "api-version": "2017-09-01"},
        {"api-version": "2019-08-01"},
        {"api-version": "2019-08-01", "resource": "x" * 1001},
    ],
)
def test_incomplete_question_is_refused(query: dict[str, str]) -> None:
    assert get(create_app(Identity(HEADER)), "/msi/token", query).status_code == 400


def test_key_set_holds_the_public_half_only() -> None:
    keys = get(create_app(Identity(HEADER)), "/.well-known/jwks.json", header=None).json()["keys"]
    assert [set(key) & {"d", "p", "q", "dp", "dq", "qi"} for key in keys] == [set()]
    assert keys[0]["kty"] == "RSA"
    assert keys[0]["alg"] == "RS256"


def test_each_start_makes_its_own_key() -> None:
    identities = Identity(HEADER), Identity(HEADER)
    token, _ = identities[0].token(RESOURCE)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, jwt.PyJWK(identities[1].key_set()["keys"][0]).key, algorithms=["RS256"], audience=RESOURCE)
