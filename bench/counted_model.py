"""A model that answers by a script and counts, for each task and turn, how often it was asked."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.model import ScriptEntry, create_app

# Stands for the task's name in a script. As long as the name, so that a reply keeps its length.
TASK = "t____"
_LOOK_SECONDS = 0.02
_TASK = re.compile(r"Task (t\d{4})\.")


def task_name(number: int) -> str:
    """The name of a task, 0 to 9999."""
    return f"t{number:04}"


def task_message(task: str) -> str:
    """What to ask for a task that the model can tell from others."""
    return f"Task {task}. Do the work."


class CountedModel:
    """An ASGI app.

    Args:
        script: replies by turn, as for `local.model`; `TASK` in them becomes the task's name.
        latency_seconds: how long each answer takes.

    Attributes:
        asked: how often, by task and turn; turns count from 0.
        held: by task and turn, what is not answered while it is here.
    """

    def __init__(self, script: Sequence[ScriptEntry], latency_seconds: float = 0.0) -> None:
        self._app: ASGIApp = create_app(script=script, latency_seconds=latency_seconds)
        self._news = threading.Condition()
        self._answered = 0
        self.asked: Counter[tuple[str, int]] = Counter()
        self.held: set[tuple[str, int]] = set()

    def wait_asked(self, task: str, turn: int, times: int = 1, timeout_seconds: float = 60.0) -> None:
        """Waits until the model has been asked so often for a turn of a task.

        Raises:
            TimeoutError: it is not.
        """
        with self._news:
            if not self._news.wait_for(lambda: self.asked[task, turn] >= times, timeout_seconds):
                raise TimeoutError(f"turn {turn} of {task} was asked for {self.asked[task, turn]} times")

    def wait_asked_again(self, timeout_seconds: float) -> bool:
        """Waits for the next call, so long; returns whether it has come."""
        with self._news:
            before = self.asked.total()
            return self._news.wait_for(lambda: self.asked.total() > before, timeout_seconds)

    @property
    def made(self) -> int:
        """How many calls there were."""
        with self._news:
            return self.asked.total()

    @property
    def answered(self) -> int:
        """How many of them have been answered, to nobody where the caller has gone."""
        with self._news:
            return self._answered

    def calls(self, task: str, turns: int) -> list[int]:
        """How often each of a task's turns was asked for."""
        return [self.asked[task, turn] for turn in range(turns)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts a request and answers it."""
        body = b""
        more = scope["type"] == "http"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        task, turn = self._count(body)
        while (task, turn) in self.held:
            await asyncio.sleep(_LOOK_SECONDS)
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(given, None) or await receive()

        async def named(message: Message) -> None:
            if task and message["type"] == "http.response.start":
                with self._news:
                    self._answered += 1
            if task and message["type"] == "http.response.body":
                message = {**message, "body": message.get("body", b"").replace(TASK.encode(), task.encode())}
            await send(message)

        await self._app(scope, again, named)

    def _count(self, body: bytes) -> tuple[str, int]:
        try:
            messages = json.loads(body)["messages"]
        except (ValueError, KeyError):
            return "", 0
        found = _TASK.search(" ".join(str(row.get("content")) for row in messages if row.get("role") == "user"))
        if found is None:
            return "", 0
        turn = sum(row.get("role") == "assistant" for row in messages)
        with self._news:
            self.asked[found[1], turn] += 1
            self._news.notify_all()
        return found[1], turn
