"""Replies that go wrong on their way: late, slow, cut, broken, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.session_pool.faults import BROKEN_BODY, CUT_BODY, DROP, SLOW_BODY, Fault

PIECES = 10
NO_CONTENT = 204


def spoiled(response: Response, fault: Fault | None) -> Response:
    """The reply as a fault leaves it."""
    if fault is None or fault.kind not in (DROP, SLOW_BODY, CUT_BODY, BROKEN_BODY):
        return response
    if fault.kind == BROKEN_BODY and response.status_code == NO_CONTENT:
        return response
    return _Spoiled(response, fault)


class _Spoiled(Response):
    """Sends another response badly."""

    def __init__(self, response: Response, fault: Fault) -> None:
        super().__init__(status_code=response.status_code)
        self._response = response
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fault.kind in (DROP, BROKEN_BODY):
            # Unsent, it would never close the file that it may hold open.
            await self._response(scope, receive, _nowhere)
            await self._instead(scope, receive, send)
            return

        async def badly(message: Any) -> None:
            body = message.get("body", b"")
            if message["type"] != "http.response.body" or not body:
                await send(message)
            elif self._fault.kind == CUT_BODY:
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                await _hang_up(receive)
            else:
                await self._slowly(message, body, send)

        await self._response(scope, receive, badly)

    async def _instead(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fault.kind == DROP:
            await _hang_up(receive)
        else:
            await Response(b'{"broken": ', self.status_code, media_type="application/json")(scope, receive, send)

    async def _slowly(self, message: Any, body: bytes, send: Send) -> None:
        size = max(1, len(body) // PIECES)
        for start in range(0, len(body), size):
            await asyncio.sleep(self._fault.seconds / PIECES)
            await send({"type": message["type"], "body": body[start : start + size], "more_body": True})
        await send({**message, "body": b""})


async def _nowhere(message: Any) -> None:
    """Takes what is sent, and forgets it."""


async def _hang_up(receive: Receive) -> None:
    # ASGI has no word for it; uvicorn's request cycle, whose method `receive` is, holds the connection.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("this server cannot drop a connection")
    transport.abort()
    # Its end is noticed in the loop's next turns; what is sent after that goes nowhere.
    for _ in range(3):
        await asyncio.sleep(0)
