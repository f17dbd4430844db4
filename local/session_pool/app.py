"""The pool's HTTP surface: which operation a request asks for, and its reply."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.session_pool import errors, wire
from local.session_pool.auth import TokenCheck
from local.session_pool.errors import Refusal
from local.session_pool.files import FILE_BYTES_MAX
from local.session_pool.sessions import Session, SessionPool
from local.session_pool.wire import Dialect

JSON_BYTES_MAX = 32 * 1024 * 1024
MULTIPART_BYTES_EXTRA = 64 * 1024
_POOL = re.compile(r"^/+subscriptions/[^/]+/resourceGroups/[^/]+/sessionPools/[^/]+", re.IGNORECASE)
_FILE = re.compile(r"/files/([^/]+)(/content)?")

_log = logging.getLogger(__name__)


class _Json(JSONResponse):
    """JSON in which half surrogate pairs, which code in a session can make, become question marks."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


class PoolApp:
    """Answers the requests of one pool.

    Args:
        pool: its sessions.
        tokens: who may call; None lets everybody.
    """

    def __init__(self, pool: SessionPool, tokens: TokenCheck | None) -> None:
        self._pool = pool
        self._tokens = tokens

    async def answer(self, request: Request) -> Response:
        """The reply to any request."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            headers = {"x-ms-error-code": refusal.code, **refusal.headers} if refusal.code else refusal.headers
            body = refusal.body()
            return _Json(body, refusal.status, headers) if body else Response(b"", refusal.status, headers)

    async def _answer(self, request: Request) -> Response:
        if self._tokens is not None:
            await self._tokens.check(request.headers.get("authorization", ""))
        dialect = wire.DIALECTS.get(request.query_params.get("api-version", ""))
        if dialect is None:
            # The service answers an unknown version like a bad token.
            raise Refusal(401)
        path = re.sub(r"/+", "/", _POOL.sub("", request.scope["raw_path"].decode("ascii"))).rstrip("/")
        operation, arguments = self._operation(request.method, path, dialect)
        identifier = wire.check_identifier(request.query_params.get("identifier", ""))
        return await operation(request, dialect, identifier, *arguments)

    def _operation(
        self, method: str, path: str, dialect: Dialect
    ) -> tuple[Callable[..., Awaitable[Response]], tuple[str, ...]]:
        fixed: dict[tuple[str, str], Callable[..., Awaitable[Response]]] = {
            ("POST", "/executions"): self._execute,
            ("GET", "/files"): self._list_files,
            ("POST", "/files"): self._upload,
        }
        if dialect.has_session_operations:
            fixed |= {("GET", "/session"): self._get_session, ("DELETE", "/session"): self._delete_session}
        if (method, path) in fixed:
            return fixed[method, path], ()
        if path in ("/listSessions", "/metadata"):
            raise errors.not_implemented(path)
        if method == "GET" and (found := re.fullmatch(r"/executions/([\w-]{1,100})", path)):
            return self._get_execution, (found[1],)
        if found := _FILE.fullmatch(path):
            name = unquote(found[1])
            if method == "GET":
                return (self._download if found[2] else self._file_info), (name,)
            if method == "DELETE" and not found[2]:
                return self._delete_file, (name,)
        raise Refusal(404, "NotFound", "There is no such operation.")

    async def _execute(self, request: Request, dialect: Dialect, identifier: str) -> Response:
        asked = dialect.execution_request(await _json_body(request))
        given = request.headers.get("operation-id", "")
        execution_id = given if re.fullmatch(r"[\w-]{1,100}", given) else str(uuid.uuid4())
        session, new = await self._pool.enter(identifier)
        record = await self._pool.execute(session, asked, execution_id)
        version = dialect.version
        headers = {
            "operation-id": execution_id,
            "operation-location": f"/executions/{execution_id}?api-version={version}&identifier={identifier}",
            **_session_headers(session, new),
        }
        return _Json(dialect.execution(record), dialect.execution_status, headers)

    async def _get_execution(self, request: Request, dialect: Dialect, identifier: str, execution_id: str) -> Response:
        record = self._pool.find(identifier).records.get(execution_id)
        if record is None:
            raise Refusal(404, "ExecutionNotFound", "There is no such execution in the session.")
        return _Json(dialect.execution(record), headers={"operation-id": execution_id})

    async def _list_files(self, request: Request, dialect: Dialect, identifier: str) -> Response:
        session, _ = await self._pool.enter(identifier)
        deep = dialect.lists_recursively and request.query_params.get("recursive", "").lower() == "true"
        found = await run_in_threadpool(session.files.listing, request.query_params.get("path", ""), deep)
        return _Json({"value": [dialect.file(info) for info in found], "nextLink": None})

    async def _upload(self, request: Request, dialect: Dialect, identifier: str) -> Response:
        if int(request.headers.get("content-length") or 0) > FILE_BYTES_MAX + MULTIPART_BYTES_EXTRA:
            raise errors.too_large()
        limited = Request(request.scope, _limited(request, FILE_BYTES_MAX + MULTIPART_BYTES_EXTRA))
        if not limited.headers.get("content-type", "").startswith("multipart/form-data"):
            raise errors.validation("Content-Type", "must be multipart/form-data")
        async with limited.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile) or not file.filename:
                raise errors.validation("file", "is missing")
            session, _ = await self._pool.enter(identifier)
            directory = request.query_params.get("path", "")
            info = await run_in_threadpool(session.files.write, directory, file.filename, file.file)
        return _Json(dialect.file(info))

    async def _file_info(self, request: Request, dialect: Dialect, identifier: str, name: str) -> Response:
        session, _ = await self._pool.enter(identifier)
        info = await run_in_threadpool(session.files.info, request.query_params.get("path", ""), name)
        return _Json(dialect.file(info))

    async def _download(self, request: Request, dialect: Dialect, identifier: str, name: str) -> Response:
        session, _ = await self._pool.enter(identifier)
        file = await run_in_threadpool(session.files.open, request.query_params.get("path", ""), name)

        async def chunks() -> AsyncIterator[bytes]:
            with file:
                while chunk := await run_in_threadpool(file.read, 1 << 20):
                    yield chunk

        return StreamingResponse(chunks(), media_type="application/octet-stream")

    async def _delete_file(self, request: Request, dialect: Dialect, identifier: str, name: str) -> Response:
        session, _ = await self._pool.enter(identifier)
        await run_in_threadpool(session.files.delete, request.query_params.get("path", ""), name)
        return Response(status_code=204)

    async def _get_session(self, request: Request, dialect: Dialect, identifier: str) -> Response:
        session = self._pool.find(identifier)
        return _Json(
            {
                "identifier": identifier,
                "createdAt": wire.rfc3339(session.created_at),
                "lastAccessedAt": wire.rfc3339(session.accessed_at),
                "expireAt": wire.rfc3339(self._pool.expires_at(session)),
                "etag": session.container.guid if session.container else "",
            }
        )

    async def _delete_session(self, request: Request, dialect: Dialect, identifier: str) -> Response:
        await self._pool.delete(identifier)
        return Response(status_code=204)


def create_app(pool: SessionPool, tokens: TokenCheck | None) -> Starlette:
    """The pool as an ASGI app; its kernels live as long as the app's lifespan.

    Args:
        pool: its sessions.
        tokens: who may call; None lets everybody.
    """
    surface = PoolApp(pool, tokens)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with pool:
            yield

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", surface.answer, methods=methods)], lifespan=lifespan)


def _session_headers(session: Session, new: bool) -> dict[str, str]:
    guid = session.container.guid if session.container else ""
    return {"x-ms-session-guid": guid, "x-ms-new-allocation": str(new).lower()}


async def _json_body(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_BYTES_MAX:
            raise Refusal(413, "RequestTooLarge", "The request is larger than 32 MB.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "BadRequest", "The body is not valid JSON.") from None


def _limited(request: Request, most: int) -> Callable[[], Awaitable[Any]]:
    seen = 0

    async def receive() -> Any:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise errors.too_large()
        return message

    return receive
