"""A client of a hosted app, in this process: real ASGI requests, no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

ANONYMOUS = "import azure.functions as func\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
ORIGIN = "http://localhost:7071"


class Client:
    """Sends requests to an app that `create_app` made."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def get_together(self, path: str, count: int) -> list[httpx.Response]:
        async def run() -> list[httpx.Response]:
            return await asyncio.gather(*(self._request("GET", path, {}) for _ in range(count)))

        return asyncio.run(run())

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            return await client.request(method, path, **options)


WriteApp = Callable[..., Path]
ServeApp = Callable[..., Client]
