"""A pool's HTTP surface for tests: in this process, or served over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from local import serve
from local.session_pool.app import PoolApp, create_app
from local.session_pool.auth import TokenCheck
from local.session_pool.faults import Faults
from local.session_pool.kinds import kind_of
from local.session_pool.launch import Isolation
from local.session_pool.metadata import Metadata
from local.session_pool.sandbox import Limits
from local.session_pool.sessions import SessionPool
from tests.local.session_pool.kernels import isolation, kernel_python

ROOT = Path(__file__).parents[3]
PATH = "/subscriptions/s/resourceGroups/g/sessionPools/p"
NEWEST = "2025-10-02-preview"
FLAT = ("2024-10-02-preview", "2025-02-02-preview", NEWEST)
WRAPPED = ("2024-02-02-preview", "2024-08-02-preview")
A, B = "session-a", "session-b"
BOUND_SECONDS = 90


def asked(code: str, **more: Any) -> dict[str, Any]:
    """The flat body of an execution."""
    return {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, **more}


@dataclass(frozen=True)
class Made:
    """How one pool of a test is made; without `sessions` it cannot start any."""

    kind: str = "PythonLTS"
    sessions: bool = True
    sandboxed: bool = False
    network: bool = False
    limits: Limits | None = None
    most: int = 100
    tokens: TokenCheck | None = None
    loose: bool = False

    def pool(self, rules: Faults) -> PoolApp:
        """The pool as the app takes it."""
        python = kernel_python() if self.sessions else str(ROOT / "no-python")
        kind = kind_of(self.kind, python)
        how = Isolation(kind.programs, sandboxed=False)
        if self.sessions and self.sandboxed:
            how = isolation(True, self.limits, self.network, kind.programs)
        sessions = SessionPool(kind, how, max_sessions=self.most, prewarmed=0)
        return PoolApp(sessions, Metadata(self.kind, python), tokens=self.tokens, rules=rules, loose=self.loose)


class Client:
    """Calls one session, or with `query=` another one."""

    def __init__(self, http: httpx.AsyncClient, pool: str) -> None:
        self.http = http
        self.pool = pool

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request to the pool; `query` None in a value leaves that parameter out."""
        given = {"api-version": NEWEST, "identifier": A, **more.pop("query", {})}
        query = {name: value for name, value in given.items() if value is not None}
        return await self.http.request(method, self.pool + path, params=query, **more)

    async def run(self, code: str, **more: Any) -> dict[str, Any]:
        """The newest version's reply to code."""
        reply = await self("POST", "/executions", json=asked(code, **more))
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    async def upload(self, name: str, content: bytes, directory: str = "") -> httpx.Response:
        """Stores a file."""
        return await self("POST", "/files", query={"path": directory}, files={"file": (name, content)})


Use = Callable[[Client], Awaitable[None]]


def with_app(use: Use, made: Made | None = None, *, pools: Mapping[str, Made] | None = None) -> None:
    """Calls an app in this process, with these pools or with one."""

    async def main() -> None:
        app = _app(pools or {"p": made or Made()}, Faults())
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, timeout=60) as http:
            await asyncio.wait_for(use(Client(http, f"http://pool{PATH}")), BOUND_SECONDS)

    asyncio.run(main())


def with_server(use: Use, made: Made | None = None, rules: Faults | None = None) -> None:
    """Calls a pool over a real connection."""

    async def main() -> None:
        http = httpx.AsyncClient(timeout=60, trust_env=False)
        async with _served(_app({"p": made or Made()}, rules or Faults())) as url, http:
            await asyncio.wait_for(use(Client(http, url + PATH)), BOUND_SECONDS)

    asyncio.run(main())


def _app(pools: Mapping[str, Made], rules: Faults) -> Starlette:
    return create_app({name: made.pool(rules) for name, made in pools.items()}, rules)


@asynccontextmanager
async def _served(app: Starlette) -> AsyncIterator[str]:
    with serve.listen(0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, BOUND_SECONDS)
