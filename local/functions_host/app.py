"""The host as an ASGI application: HTTP routes of the app's functions, and the host's own few pages."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from local.functions_host import callers, conversion, routes, settings
from local.functions_host.conversion import HttpReply
from local.functions_host.indexing import HTTP_TRIGGER, HostedFunction, IndexingError, index_functions
from local.functions_host.invocation import InvocationFailed, Invoker, trace_context
from local.functions_host.listeners import Listeners, by_hand
from local.functions_host.queue_listener import LEASE_SECONDS

BODY_LIMIT_BYTES = 104_857_600
_STATUS_PATH = "/admin/host/status"
_FUNCTIONS_PATH = "/admin/functions/"


@dataclass(frozen=True)
class HttpRoute:
    """One HTTP function and where it answers.

    Args:
        function: what runs.
        template: its route, prefix included.
        methods: which methods it takes, upper case; None for all.
        auth_level: ANONYMOUS, FUNCTION or ADMIN.
    """

    function: HostedFunction
    template: routes.RouteTemplate
    methods: tuple[str, ...] | None
    auth_level: str


class HostedApp:
    """A function app with its settings applied and its functions indexed.

    Args:
        app_dir: its folder.
        port: the port it will be reached at, for WEBSITE_HOSTNAME.
        key: with it, functions above anonymous level need it; without it, keys are not checked. It plays the
            master key, which opens everything.
        cors: origins whose pages may call; without any, those of `local.settings.json`.
        lease_seconds: how long a fetched queue message is hidden from others.
        http_only: run no functions with other triggers.

    Raises:
        SettingsError: a settings file is unusable.
        IndexingError: the functions cannot be indexed, or a route is invalid.
    """

    def __init__(
        self,
        app_dir: Path,
        *,
        port: int,
        key: str | None = None,
        cors: Sequence[str] = (),
        lease_seconds: int = LEASE_SECONDS,
        http_only: bool = False,
    ) -> None:
        self.settings = settings.read_local_settings(app_dir)
        settings.apply_environment(
            self.settings, os.environ, app_dir=app_dir, port=port, warn=lambda line: sys.stderr.write(line + "\n")
        )
        self.config = settings.read_host_config(app_dir, os.environ)
        self.functions = index_functions(app_dir)
        runnable = [
            function
            for function in self.functions
            if not function.not_run_because and not function.is_disabled(os.environ)
        ]
        self._http_only = http_only
        self.routes = _routes(runnable, self.config.route_prefix)
        self.key = key
        self.cors = tuple(cors) or self.settings.cors
        self.invoker = Invoker(self.config.timeout_seconds)
        self.listeners = Listeners(runnable, self.invoker, self.config.queues, os.environ, lease_seconds)
        self._started = time.monotonic()

    def not_run_because(self, function: HostedFunction) -> str | None:
        """Why a function does not run here; None when it does."""
        if self._http_only and function.trigger != HTTP_TRIGGER:
            return "only HTTP functions are wanted"
        return function.not_run_because or self.listeners.problems.get(function.name)

    def start_listeners(self) -> None:
        """Begins to wait for queue messages and times, on the running event loop."""
        if not self._http_only:
            self.listeners.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (ASGI)."""
        try:
            response = await self._response(Request(scope, receive))
        except ClientDisconnect:
            # Whoever hangs up in the middle of a body waits for no answer.
            return
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        if not callers.may_call(request.url.scheme, request.headers, self.cors):
            return PlainTextResponse(callers.REFUSAL, 403)
        path = routes.decode_path(request.scope.get("raw_path") or request.scope["path"].encode())
        return await self._function_response(request, path) or await self._own_page(request, path)

    async def _function_response(self, request: Request, path: str) -> Response | None:
        for route in self.routes:
            if route.methods is not None and request.method not in route.methods:
                continue
            parameters = route.template.match(path)
            if parameters is not None:
                return _response(await self._answer(route, request, parameters))
        return None

    async def _answer(self, route: HttpRoute, request: Request, parameters: Mapping[str, str]) -> HttpReply:
        if not self._may_call(request, route.auth_level):
            return HttpReply(401)
        if self._is_full:
            return HttpReply(429)
        body = await _body(request)
        if body is None:
            return HttpReply(413)
        scope = request.scope
        converted = conversion.to_request(
            request.method, _url(request), scope["headers"], scope["query_string"], parameters, body
        )
        arguments = {str(route.function.trigger_binding["name"]): converted}
        convert = conversion.to_reply if _returns_http(route.function) else lambda _: HttpReply(204)
        trace = trace_context(converted.headers)
        try:
            return await self.invoker.run(route.function, arguments, trace, convert)
        except InvocationFailed:
            return conversion.FAILED

    @property
    def _is_full(self) -> bool:
        return self.invoker.running >= self.config.max_outstanding

    def _may_call(self, request: Request, level: str) -> bool:
        if self.key is None or level == "ANONYMOUS":
            return True
        header = request.headers.get("x-functions-key")
        given = header if header is not None else request.query_params.get("code", "")
        return secrets.compare_digest(given.encode(), self.key.encode())

    async def _own_page(self, request: Request, path: str) -> Response:
        if request.method == "POST" and path.lower().startswith(_FUNCTIONS_PATH):
            return await self._run_by_hand(request, path[len(_FUNCTIONS_PATH) :])
        if request.method not in ("GET", "HEAD"):
            return Response(status_code=404)
        if path == "/":
            return HTMLResponse("<p>Your function app is up and running (local.functions_host).</p>\n")
        if path.lower() == _STATUS_PATH:
            if not self._may_call(request, "ADMIN"):
                return Response(status_code=401)
            uptime = round((time.monotonic() - self._started) * 1000)
            return JSONResponse(
                {"id": "local", "state": "Running", "version": "local.functions_host", "processUptime": uptime}
            )
        return Response(status_code=404)

    async def _run_by_hand(self, request: Request, name: str) -> Response:
        """`POST /admin/functions/{name}` with `{"input": "..."}`: runs a function whose trigger is not HTTP."""
        if not self._may_call(request, "ADMIN"):
            return Response(status_code=401)
        function = next((function for function in self.functions if function.name.lower() == name.lower()), None)
        if function is None:
            return Response(status_code=404)
        if self._is_full:
            return Response(status_code=429)
        body = await _body(request)
        if body is None:
            return Response(status_code=413)
        content = by_hand(function, body)
        if content is None:
            return Response(status_code=400)
        self.listeners.call_soon(function, content)
        return Response(status_code=202)


def create_app(
    app_dir: Path,
    *,
    port: int = 7071,
    key: str | None = None,
    cors: Sequence[str] = (),
    lease_seconds: int = LEASE_SECONDS,
    http_only: bool = False,
) -> Starlette:
    """A function app as an ASGI application; `state.hosted` is its `HostedApp`.

    Args:
        app_dir: folder with `function_app.py`; `local.settings.json` and `host.json` are optional.
        port: the port it will be reached at.
        key: see `HostedApp`.
        cors: see `HostedApp`.
        lease_seconds: see `HostedApp`.
        http_only: see `HostedApp`.

    Raises:
        SettingsError: a settings file is unusable.
        IndexingError: the functions cannot be indexed, or a route is invalid.
    """
    hosted = HostedApp(app_dir, port=port, key=key, cors=cors, lease_seconds=lease_seconds, http_only=http_only)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hosted.start_listeners()
        yield
        await hosted.listeners.stop()
        hosted.invoker.close()

    middleware = [
        Middleware(
            CORSMiddleware,
            allow_origins=hosted.cors,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=hosted.settings.cors_credentials,
        )
    ]
    app = Starlette(routes=[Mount("/", app=hosted)], middleware=middleware if hosted.cors else [], lifespan=lifespan)
    app.state.hosted = hosted
    return app


def _routes(functions: Sequence[HostedFunction], prefix: str) -> tuple[HttpRoute, ...]:
    found = []
    for function in functions:
        if function.trigger != HTTP_TRIGGER:
            continue
        trigger = function.trigger_binding
        # The host takes the function's name for an empty route too (WebScriptHostHttpRoutesManager).
        text = trigger.get("route") or function.name
        if not prefix and text.lower().split("/")[0] in ("admin", "runtime"):
            raise IndexingError(
                f"The '{function.name}' function is in error: The specified route conflicts with one or more "
                "built in routes."
            )
        try:
            template = routes.parse(f"{prefix}/{text}" if prefix else text)
        except routes.RouteError as error:
            raise IndexingError(f"The '{function.name}' function is in error: {error}") from error
        methods = tuple(str(method).upper() for method in trigger.get("methods") or ())
        found.append(HttpRoute(function, template, methods or None, str(trigger.get("authLevel", "FUNCTION")).upper()))
    return tuple(sorted(found, key=lambda route: routes.preference(route.template)))


def _returns_http(function: HostedFunction) -> bool:
    return any(binding["name"] == "$return" and binding["type"] == "http" for binding in function.bindings)


async def _body(request: Request) -> bytes | None:
    """The body as a function sees it; None when it is too large. Without Content-Length it is empty."""
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isascii() and length.isdigit() else 0
    if announced > BODY_LIMIT_BYTES:
        return None
    kept = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > BODY_LIMIT_BYTES:
            return None
        if announced > 0:
            kept += chunk
    return bytes(kept)


def _url(request: Request) -> str:
    scope = request.scope
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    host = request.headers.get("host", "localhost")
    return f"{scope['scheme']}://{host}{path}" + (f"?{query}" if query else "")


def _response(reply: HttpReply) -> Response:
    response = Response(reply.body, reply.status)
    for name, value in reply.headers:
        response.headers.append(name, value)
    return response
