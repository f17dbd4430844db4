"""What a scripted server has to say to be taken for a session pool, and a credential for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.core.credentials import AccessToken

from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server


class Credential:
    """Has a token that never expires."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """The token, for the session pool only."""
        assert scopes == ("https://dynamicsessions.io/.default",)
        return AccessToken("token", 9_999_999_999)


def ended(stdout: str = "", stderr: str = "", status: str = "Succeeded", result: Any = "", **headers: str) -> Answer:
    """The reply for an execution that has ended; headers with _ for -."""
    body = {"id": "e", "status": status, "result": {"stdout": stdout, "stderr": stderr, "executionResult": result}}
    return Answer(
        body=json.dumps(body).encode(), headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def described(name: str, size: int = 1, modified: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    """A file as the pool describes it."""
    return {"name": name, "type": "file", "sizeInBytes": size, "lastModifiedAt": modified}


def listing(*files: dict[str, Any]) -> Answer:
    """The reply for a list of files."""
    return Answer(body=json.dumps({"value": files}).encode())


def uploaded(*arguments: Any) -> Answer:
    """The reply for an upload, of what `described` says."""
    return Answer(body=json.dumps(described(*arguments)).encode())


def operation(request: Received) -> str:
    """The method and the last part of the path that tells operations apart, such as `POST executions`."""
    parts = urlsplit(request.path).path.strip("/").split("/")
    return f"{request.method} {'content' if parts[-1] == 'content' else parts[1] if len(parts) > 1 else ''}"


def operations(server: ScriptedServer) -> list[str]:
    """What was asked of a pool at `/pool`, in order."""
    return [operation(request) for request in server.received]


def identifiers(server: ScriptedServer) -> list[str]:
    """The identifiers that were sent, in order."""
    return [parse_qs(urlsplit(request.path).query)["identifier"][0] for request in server.received]


Script = Callable[[int, Received], Answer] | list[Answer] | Answer


@contextmanager
def scripted_pool(**answers: Script) -> Iterator[ScriptedServer]:
    """A pool at `/pool` of the server.

    Args:
        answers: by operation, with _ for the space, such as `POST_executions`: one answer for all requests, a list
            whose last one repeats, or a function of the number among the operation's requests and the request.
    """
    counts: dict[str, int] = {}

    def answer(_: int, request: Received) -> Answer:
        name = operation(request).replace(" ", "_")
        number = counts.get(name, 0)
        counts[name] = number + 1
        script = answers.get(name, Answer(404, b""))
        if isinstance(script, Answer):
            return script
        return script[min(number, len(script) - 1)] if isinstance(script, list) else script(number, request)

    with scripted_server(answer) as server:
        yield server
