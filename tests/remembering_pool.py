"""A scripted session pool that knows its executions again by their ids, and a model that counts its calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from local.model import ScriptEntry, create_app
from shared.settings import Settings
from tests.scripted_pool import Script, ended, listing, operation, scripted_pool, uploaded
from tests.scripted_server import Answer, Received, ScriptedServer
from tests.served import served


@dataclass
class RememberingPool:
    """A pool with one session.

    Attributes:
        replies: to the executions, in order, the last one repeats; code that is refused has not run, and what is
            found later is the body alone.
        executed: the code that ran.
        forgets: the session knows no execution again.
        there: whether the session is there.
        during: happens while code runs.
    """

    replies: Sequence[Answer] = (ended("42\n"),)
    executed: list[str] = field(default_factory=list)
    forgets: bool = False
    there: bool = False
    during: Callable[[], object] = lambda: None
    server: ScriptedServer = field(default_factory=lambda: ScriptedServer(""))
    _known: dict[str, Answer] = field(default_factory=dict)

    def lose_session(self) -> None:
        """The session is gone, with all that it knows."""
        self.there = False
        self._known.clear()

    def asked(self) -> list[str]:
        """What was asked, in order."""
        return [operation(request) for request in self.server.received]

    def execute(self, number: int, request: Received) -> Answer:
        """Runs code, in a new session where there is none."""
        reply = self.replies[min(number, len(self.replies) - 1)]
        if reply.status >= 300:
            return reply
        self.during()
        self.executed.append(json.loads(request.body)["code"])
        self._known[request.headers["operation-id"]] = Answer(reply.status, reply.body)
        new, self.there = not self.there, True
        return replace(reply, headers={**reply.headers, "x-ms-new-allocation": str(new).lower()})

    def find(self, number: int, request: Received) -> Answer:
        """An execution by its id."""
        found = self._known.get(urlsplit(request.path).path.rpartition("/")[2])
        return Answer(404, b"") if found is None or self.forgets else found

    def upload(self, number: int, request: Received) -> Answer:
        """Takes a file, in a new session where there is none."""
        self.there = True
        return uploaded("a.csv", 3)

    def session(self, number: int, request: Received) -> Answer:
        """Whether the session is there."""
        return Answer() if self.there else Answer(404, b"")

    def delete(self, number: int, request: Received) -> Answer:
        """Ends the session."""
        was_there = self.there
        self.lose_session()
        return Answer(204, b"") if was_there else Answer(404, b"")

    @contextmanager
    def running(self, **answers: Script) -> Iterator[ScriptedServer]:
        """Serves it at `/pool`; `answers` as for `scripted_pool` come first."""
        own: dict[str, Script] = {
            "POST_executions": self.execute,
            "GET_executions": self.find,
            "POST_files": self.upload,
            "GET_files": listing(),
            "GET_session": self.session,
            "DELETE_session": self.delete,
        }
        with scripted_pool(**{**own, **answers}) as self.server:
            yield self.server


class CountingModel:
    """The stand-in model; `calls` is how many answers it has begun."""

    def __init__(self, script: Sequence[ScriptEntry]) -> None:
        self.calls = 0
        self._app: ASGIApp = create_app(script=script)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the stand-in does."""
        self.calls += scope["type"] == "http"
        await self._app(scope, receive, send)


@contextmanager
def model_and_pool(
    model: CountingModel, pool: RememberingPool, *, options: dict[str, object] | None = None, **answers: Script
) -> Iterator[Settings]:
    """Settings that lead to both."""
    with served(model) as url, pool.running(**answers) as server:
        yield Settings(
            pool_management_endpoint=server.url + "/pool",
            openai_base_url=f"{url}/v1",
            openai_model="stand-in",
            **(options or {}),  # type: ignore[arg-type]
        )
