"""The pools' HTTP surface: which pool, version and operation a request means, who may ask, and what goes wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from local.session_pool import errors, faults, wire
from local.session_pool.auth import TokenCheck
from local.session_pool.errors import Refusal
from local.session_pool.faults import Fault, Faults
from local.session_pool.faulty import spoiled
from local.session_pool.metadata import Metadata
from local.session_pool.operations import Asked, Json, Operations, json_body
from local.session_pool.sessions import SessionPool
from local.session_pool.wire import Call, Dialect, Operation
from local.session_pool.wire.dialect import POOL_WIDE

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CONTROL_PATH = "/.local/faults"
IDENTIFIER = re.compile(r"""[A-Za-z0-9_|}{\[\]:";'<>?/.,@#$%^&*()\-+=!~`]{4,128}""")
_POOL = re.compile(r"^/+subscriptions/[^/]+/resourceGroups/[^/]+/sessionPools/([^/]+)", re.IGNORECASE)
_NOT_HERE = re.compile(r"/(\.management(/.*)?|mcp(/.*)?)")


class PoolApp:
    """Answers the requests of one pool.

    Args:
        pool: its sessions.
        metadata: what they have installed.
        tokens: who may call; None lets everybody.
        rules: what is to go wrong.
        loose: forgive what the service does not.
    """

    def __init__(
        self,
        pool: SessionPool,
        metadata: Metadata,
        *,
        tokens: TokenCheck | None,
        rules: Faults | None = None,
        loose: bool = False,
    ) -> None:
        self.pool = pool
        self._operations = Operations(pool, metadata, loose=loose)
        self._tokens = tokens
        self._faults = rules or Faults()
        self._loose = loose

    async def answer(self, request: Request, path: str, url: str) -> Response:
        """The reply to a request.

        Args:
            request: as it came.
            path: below the pool.
            url: of the pool.

        Raises:
            Refusal: the service would refuse it.
        """
        if self._tokens is not None:
            life = self._faults.token_life()
            await self._tokens.check(request.headers.get("authorization", ""), life_seconds=life)
        asked = await self._understood(request, path, url)
        fault = self._faults.take(asked.call.operation, asked.identifier)
        if fault is not None:
            await self._suffer(fault, asked)
            if fault.kind == faults.DROP and not fault.after:
                return spoiled(Response(), fault)
        return spoiled(await self._operations.carry_out(asked), fault)

    async def _suffer(self, fault: Fault, asked: Asked) -> None:
        if fault.kind == faults.STATUS:
            raise fault.refusal()
        if fault.kind == faults.LATENCY:
            await asyncio.sleep(fault.seconds)
        if fault.kind == faults.SESSION_LOSS:
            self.pool.lose(asked.identifier)

    async def _understood(self, request: Request, path: str, url: str) -> Asked:
        dialect = wire.dialect_of(request.query_params.get("api-version", ""), path, loose=self._loose)
        if dialect is None:
            # The service answers an unknown version like a bad token.
            raise Refusal(401)
        dialect, call = self._call(dialect, request.method, path)
        body = await json_body(request) if call.operation is Operation.EXECUTE else None
        identifier = ""
        if call.operation not in POOL_WIDE:
            identifier = checked_identifier(dialect.identifier(request.query_params, body))
        return Asked(request, dialect, call, identifier, body, url)

    def _call(self, dialect: Dialect, method: str, path: str) -> tuple[Dialect, Call]:
        call = dialect.call(method, path)
        if call is not None:
            return dialect, call
        others = wire.speakers(method, path)
        if not others:
            raise _unknown(method, path)
        if not self._loose:
            raise errors.not_supported(f"The operation is not supported in API version {dialect.version}.")
        return others[-1]


def _unknown(method: str, path: str) -> Refusal:
    if _NOT_HERE.fullmatch(path):
        return errors.not_implemented(path)
    if any(wire.speakers(other, path) for other in ("GET", "POST", "DELETE")):
        return errors.validation("method", f"{method} is not for this operation")
    return errors.no_operation()


def checked_identifier(identifier: str) -> str:
    """The identifier, if it is of the documented form.

    Raises:
        Refusal: it is not.
    """
    if not IDENTIFIER.fullmatch(identifier):
        raise errors.validation("identifier", "must be 4 to 128 of the allowed characters")
    return identifier


class _Surface:
    """All pools, by the names in their paths; the first is also at the root.

    A pool that is the only one answers to any name.
    """

    def __init__(self, pools: Mapping[str, PoolApp], rules: Faults, local_only: bool) -> None:
        self._local_only = local_only
        self._pools = {name.lower(): pool for name, pool in pools.items()}
        self._first = next(iter(self._pools.values()))
        self._faults = rules

    async def answer(self, request: Request) -> Response:
        """The reply to any request."""
        try:
            if _is_of_a_web_page(request) or (self._local_only and request.url.hostname not in LOOPBACK_NAMES):
                raise Refusal(403, "Forbidden", "The local session pool answers no web pages.")
            raw = request.scope["raw_path"].decode("ascii")
            if raw == CONTROL_PATH:
                return await self._control(request)
            found = _POOL.match(raw)
            pool = self._pool(found[1]) if found else self._first
            path = re.sub(r"/+", "/", raw[found.end() :] if found else raw).rstrip("/")
            return await pool.answer(request, path, str(request.base_url).rstrip("/") + (found[0] if found else ""))
        except Refusal as refusal:
            headers = {"x-ms-error-code": refusal.code, **refusal.headers} if refusal.code else refusal.headers
            body = refusal.body()
            return Json(body, refusal.status, headers) if body else Response(b"", refusal.status, headers)
        except ClientDisconnect:
            return Response(status_code=400)

    def _pool(self, name: str) -> PoolApp:
        if len(self._pools) == 1:
            return self._first
        if name.lower() not in self._pools:
            raise Refusal(404, "SessionPoolNotFound", "There is no session pool of that name.")
        return self._pools[name.lower()]

    async def _control(self, request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_NAMES:
            raise Refusal(403, "Forbidden", "Faults are set from this machine only.")
        if request.method == "POST":
            body = await json_body(request)
            rows = body if isinstance(body, list) else [body]
            try:
                self._faults.add([faults.rule_of(row if isinstance(row, dict) else {}) for row in rows])
            except ValueError as error:
                raise errors.validation("faults", str(error)) from None
        elif request.method == "DELETE":
            self._faults.clear()
        elif request.method != "GET":
            raise errors.no_operation()
        return Json({"faults": self._faults.listing()})


def create_app(
    pools: Mapping[str, PoolApp], rules: Faults, *, local_only: bool = False, more: Sequence[BaseRoute] = ()
) -> Starlette:
    """The pools as an ASGI app; their sessions live as long as the app's lifespan.

    Args:
        pools: by name, at least one.
        rules: what is to go wrong in any of them, changed by the control endpoint.
        local_only: answer only to a name of this machine, which a web page cannot give itself.
        more: routes of another kind, such as the identity endpoint's.
    """
    surface = _Surface(pools, rules, local_only)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in pools.values():
                await stack.enter_async_context(pool.pool)
            yield

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [*more, Route("/{path:path}", surface.answer, methods=methods)]
    return Starlette(routes=routes, lifespan=lifespan)


def _is_of_a_web_page(request: Request) -> bool:
    """Whether a browser sends it for a page: without tokens, any page could else run code here."""
    headers = request.headers
    return "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
