"""Hosted apps: in this process, with real ASGI requests and no sockets, or in a process of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

ANONYMOUS = "import azure.functions as func\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
ORIGIN = "http://localhost:7071"


ROOT = Path(__file__).parents[3]
SECONDS = 20


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


class Host:
    """The host as a process of its own."""

    def __init__(self, app_dir: Path, *options: str, **variables: str) -> None:
        command = [sys.executable, "-m", "local.functions_host", "--with-parent", "--app-dir", str(app_dir), *options]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(SECONDS, self.process.kill)
        self._limit.start()

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.end()[1]
        return dict(json.loads(line))

    def log_lines(self) -> Iterator[str]:
        """What it logs from now on, line by line."""
        assert self.process.stderr is not None
        yield from iter(self.process.stderr.readline, "")

    def end(self) -> tuple[str, str]:
        output = self.process.communicate(timeout=SECONDS)
        self._limit.cancel()
        return output


WriteApp = Callable[..., Path]
ServeApp = Callable[..., Client]
