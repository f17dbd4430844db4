"""Talks to a function app over HTTP, as any other client would."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

_CONNECT_SECONDS = 10.0
_REPLY_BYTES_MAX = 256_000_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class UsageError(Exception):
    """The question cannot be asked like this; the text says why."""


class NoReply(Exception):
    """There is no answer to read; the text says what came instead."""


class Unreachable(NoReply):
    """Nobody answered; asking again may help."""


@dataclass(frozen=True)
class Target:
    """Where to ask.

    Attributes:
        url: the app's address.
        key: its function key, sent as `x-functions-key`; None where it wants none.
        lasting: whether it is there after the answer, so that a session can go on.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    lasting: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"x-functions-key": self.key} if self.key else {}


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: the HTTP status.
        body: the reply's bytes.
        reply: its JSON object.
        seconds: how long it took.
        headers: the reply's, names in any case.
    """

    status: int
    body: bytes
    reply: Mapping[str, Any]
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def endpoint(target: Target, route: str) -> str:
    """The address of a route of the app.

    Args:
        target: the app; its address may be that of the chat route.
        route: such as `chat`.

    Raises:
        UsageError: it is no address of a web server, or a key would travel unencrypted.
    """
    try:
        parts = urlsplit(target.url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError("--url is not the address of a function app, such as https://<name>.azurewebsites.net.")
    if target.key and parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError("A key is sent over https only.")
    path = parts.path.rstrip("/").removesuffix("/api/chat")
    return f"{parts.scheme}://{parts.netloc}{path}/api/{route}"


def call(
    method: str,
    url: str,
    *,
    patience_seconds: float,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request, and its JSON.

    Args:
        method: of HTTP.
        url: all of it.
        patience_seconds: how long to wait for all of the answer.
        body: sent as JSON.
        headers: to send.

    Raises:
        Unreachable: nobody answered in time.
        NoReply: the answer is no JSON object.
    """
    started = time.monotonic()
    with requests.Session() as session:
        # A proxy of the environment cannot reach this machine's loopback.
        session.trust_env = urlsplit(url).hostname not in _LOOPBACK
        try:
            # Followed, a redirection would turn a POST into a GET or carry the key elsewhere.
            response = session.request(
                method,
                url,
                json=body,
                headers=headers,
                timeout=(_CONNECT_SECONDS, patience_seconds),
                allow_redirects=False,
                stream=True,
            )
            content = _read(response, started + patience_seconds)
        except requests.Timeout:
            raise Unreachable(f"The function app did not answer within {patience_seconds:.0f} s.") from None
        except requests.RequestException as error:
            raise Unreachable(f"The function app could not be reached ({type(error).__name__}).") from None
    reply = _json_object(response, content)
    return Answer(response.status_code, content, reply, time.monotonic() - started, response.headers)


def _read(response: requests.Response, until: float) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(65536):
        content += chunk
        if len(content) > _REPLY_BYTES_MAX:
            raise NoReply("The reply is larger than 256 MB.")
        if time.monotonic() > until:
            raise requests.Timeout
    return bytes(content)


def _json_object(response: requests.Response, content: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(content)
    except ValueError:
        reply = None
    if isinstance(reply, dict):
        return reply
    status = response.status_code
    if status == 401:
        raise NoReply("The function app wants a function key (401). Give it with --key.")
    kind = Unreachable if status >= 500 else NoReply
    what = "without a body" if not content else "with something that is not its JSON"
    raise kind(
        f"The server answered {status} {what}. Is this the address of the function app, and what does its log say?"
    )
