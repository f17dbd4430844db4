"""A session pool as a caller sees it, and the emulator as a process."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.identity import ManagedIdentityCredential

from local.part import Part
from local.session_pool import sandbox
from local.stack import session_python

ROOT = Path(__file__).resolve().parents[2]
NEWEST = "2025-10-02-preview"
SCOPE = "https://dynamicsessions.io/.default"
START_SECONDS = 60
REPLY_SECONDS = 60

# A picture of one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# Given a scope, a token.
Tokens = Callable[[str], str]


class Pool:
    """Calls one pool; the sessions that it names are deleted at the end.

    Args:
        endpoint: the pool's management endpoint.
        tokens: who signs the calls; None for a pool that asks for nothing.
        certificate: path of the authority to trust, besides the usual ones.
    """

    def __init__(self, endpoint: str, tokens: Tokens | None, certificate: str = "") -> None:
        self.endpoint = endpoint.rstrip("/")
        self.tokens = tokens
        self._verify: bool | str = certificate or True
        self._identifiers: list[str] = []

    def new_identifier(self) -> str:
        """Names a session that nobody has used."""
        self._identifiers.append(uuid.uuid4().hex)
        return self._identifiers[-1]

    def request(
        self,
        method: str,
        path: str,
        identifier: str | None = None,
        *,
        version: str | None = NEWEST,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        endpoint: str = "",
        **more: Any,
    ) -> requests.Response:
        """The reply to any request, whatever its status.

        Args:
            method, path: the operation.
            identifier, version: left out of the query when None.
            query: further parameters.
            headers: further ones, or another Authorization.
            endpoint: another one than the pool's.
            more: for `requests.request`.
        """
        named = {"api-version": version, "identifier": identifier}
        parameters = {name: value for name, value in named.items() if value is not None}
        signed = {"Authorization": f"Bearer {self.tokens(SCOPE)}"} if self.tokens else {}
        return requests.request(
            method,
            (endpoint or self.endpoint) + path,
            params={**parameters, **(query or {})},
            headers={**signed, **(headers or {})},
            timeout=REPLY_SECONDS,
            verify=self._verify,
            **more,
        )

    def execute(self, code: str, identifier: str, /, *, version: str = NEWEST, **fields: Any) -> requests.Response:
        """The reply to a synchronous execution, with further fields of its body or others instead."""
        return self.request("POST", "/executions", identifier, version=version, json=body(code, **fields))

    def run(self, code: str, identifier: str, /, **fields: Any) -> dict[str, Any]:
        """The body of an execution that was answered with 200."""
        reply = self.execute(code, identifier, **fields)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def result(self, code: str, identifier: str, /, **fields: Any) -> dict[str, Any]:
        """What an execution that succeeded gave."""
        found = self.run(code, identifier, **fields)
        assert found["status"] == "Succeeded", found
        return dict(found["result"])

    def upload(self, name: str, content: bytes, identifier: str, **query: str) -> requests.Response:
        """The reply to an upload."""
        return self.request("POST", "/files", identifier, query=query, files={"file": (name, content)})

    def delete_sessions(self, identifiers: Sequence[str] = ()) -> None:
        """Deletes sessions, by default all that were named; those that are gone already are no failure."""
        for identifier in list(identifiers or self._identifiers):
            self.request("DELETE", "/session", identifier)
            self._identifiers.remove(identifier)


def body(code: str, **fields: Any) -> dict[str, Any]:
    """The body of an execution; a field that is None is left out."""
    row = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 30, **fields}
    return {name: value for name, value in row.items() if value is not None}


def wrapped(code: str, **fields: Any) -> dict[str, Any]:
    """The same in the form of the versions of early 2024, as their clients send it."""
    return {"properties": {"codeInputType": "inline", "executionType": "synchronous", "code": code, **fields}}


def error_code(reply: requests.Response) -> str:
    """The code in an error's envelope."""
    return str(reply.json()["error"]["code"])


@dataclass(frozen=True)
class Emulator:
    """An emulator that runs; `ready` is the line that it said."""

    ready: Mapping[str, Any]

    @property
    def url(self) -> str:
        """Its address, without a pool's path."""
        return str(self.ready["url"])

    def tokens(self) -> Tokens:
        """Tokens of its identity endpoint, fetched by azure-identity as in Azure."""
        credential: list[ManagedIdentityCredential] = []

        def token(scope: str) -> str:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in self.ready["env"].items():
                    patch.setenv(name, value)
                credential[:] = credential or [ManagedIdentityCredential()]
                return str(credential[0].get_token(scope).token)

        return token

    @contextmanager
    def fault(self, **rule: Any) -> Iterator[None]:
        """A rule of its control endpoint, for as long as it is needed."""
        control = f"{self.url}/.local/faults"
        requests.post(control, json=rule, timeout=REPLY_SECONDS).raise_for_status()
        try:
            yield
        finally:
            requests.delete(control, timeout=REPLY_SECONDS).raise_for_status()

    def pool(self, name: str = "local") -> Pool:
        """One of its pools."""
        variables = self.ready["env"]
        tokens = self.tokens() if "IDENTITY_ENDPOINT" in variables else None
        return Pool(self.ready["endpoints"][name], tokens, variables.get("SSL_CERT_FILE", ""))


@contextmanager
def emulator(*options: str) -> Iterator[Emulator]:
    """An emulator of a test's own, in a sandbox where there is one."""
    if not session_python().exists():
        give_up("the sessions' environment is not installed: run `python3 dev.py test`, or set SESSION_PYTHON")
    command = [sys.executable, "-m", "local.session_pool", "--json", "--with-parent", *options]
    command += ["--kernel-python", str(session_python())]
    if sandbox.missing():
        command.append("--trusted-code-only")
    part = Part("session pool", command, environment=os.environ, folder=ROOT, keep_log=True)
    try:
        yield Emulator(part.wait_ready(START_SECONDS))
    finally:
        part.stop()


def give_up(reason: str) -> None:
    """Skips a test that this machine cannot run; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
