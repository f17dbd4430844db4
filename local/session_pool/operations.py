"""The operations of a pool: what each does with the core, and its reply."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from local.session_pool import errors
from local.session_pool.errors import Refusal
from local.session_pool.files import FILE_BYTES_MAX
from local.session_pool.metadata import Metadata
from local.session_pool.session import Session
from local.session_pool.sessions import SessionPool
from local.session_pool.wire import Call, Dialect, Operation
from local.session_pool.wire.dialect import rfc3339

JSON_BYTES_MAX = 32 * 1024 * 1024
MULTIPART_BYTES_EXTRA = 64 * 1024
SESSIONS_LISTED = 100


class Json(JSONResponse):
    """JSON in which half surrogate pairs, which code in a session can make, become question marks."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


@dataclass(frozen=True)
class Asked:
    """One request, understood.

    Attributes:
        request: as it came; its body is read already where it is JSON.
        dialect: its API version.
        call: its operation.
        identifier: of its session; empty where it needs none.
        body: its JSON, None where it has none.
        url: of the pool, for links.
    """

    request: Request
    dialect: Dialect
    call: Call
    identifier: str
    body: Any
    url: str

    @property
    def directory(self) -> str:
        """The directory that it names, as it came."""
        return self.request.query_params.get("path", "")

    @property
    def file_name(self) -> str:
        """The file that it names: in the path, or in the oldest paths' query."""
        query = self.request.query_params
        return self.call.name or query.get("filename", "") or query.get("fileName", "")


class Operations:
    """Carries out requests on one pool.

    Args:
        pool: its sessions.
        metadata: what its sessions have installed.
        loose: forgive what the service does not.
    """

    def __init__(self, pool: SessionPool, metadata: Metadata, *, loose: bool = False) -> None:
        self._pool = pool
        self._metadata = metadata
        self._loose = loose
        self._handlers: Mapping[Operation, Callable[[Asked], Awaitable[Response]]] = {
            Operation.EXECUTE: self._execute,
            Operation.GET_EXECUTION: self._get_execution,
            Operation.LIST_FILES: self._list_files,
            Operation.UPLOAD: self._upload,
            Operation.FILE_INFO: self._file_info,
            Operation.DOWNLOAD: self._download,
            Operation.DELETE_FILE: self._delete_file,
            Operation.GET_SESSION: self._get_session,
            Operation.DELETE_SESSION: self._delete_session,
            Operation.LIST_SESSIONS: self._list_sessions,
            Operation.METADATA: self._get_metadata,
        }

    async def carry_out(self, asked: Asked) -> Response:
        """The reply to a request.

        Raises:
            Refusal: the service would refuse it.
        """
        return await self._handlers[asked.call.operation](asked)

    async def _execute(self, asked: Asked) -> Response:
        dialect, identifier = asked.dialect, asked.identifier
        takes_commands = self._pool.kind.takes_commands
        wanted = dialect.execution_request(asked.body, takes_commands=takes_commands, loose=self._loose)
        given = asked.request.headers.get("operation-id", "")
        execution_id = given if re.fullmatch(r"[\w-]{1,100}", given, re.ASCII) else str(uuid.uuid4())
        began = time.monotonic()
        session, new = await self._pool.enter(identifier)
        allocated = time.monotonic()
        start = self._pool.begin if wanted.asynchronous else self._pool.execute
        record = await start(session, wanted, execution_id)
        query = f"api-version={dialect.version}&identifier={quote(identifier, safe='')}"
        headers = {
            "operation-id": execution_id,
            "operation-location": f"/executions/{execution_id}?{query}",
            "x-ms-session-guid": session.guid,
            "x-ms-new-allocation": str(new).lower(),
            "x-ms-allocation-time": _milliseconds(allocated - began),
            "x-ms-overall-execution-time": _milliseconds(time.monotonic() - began),
        }
        if record.outcome is not None:
            headers["x-ms-container-execution-duration"] = str(record.outcome.milliseconds)
        return Json(dialect.execution(record), dialect.execution_status(record), headers)

    async def _get_execution(self, asked: Asked) -> Response:
        record = self._pool.find(asked.identifier).records.get(asked.call.name)
        if record is None:
            raise Refusal(404, "ExecutionNotFound", "There is no such execution in the session.")
        return Json(asked.dialect.execution(record), headers={"operation-id": record.id})

    async def _list_files(self, asked: Asked) -> Response:
        session, _ = await self._pool.enter(asked.identifier)
        query = asked.request.query_params
        deep = asked.dialect.lists_recursively and query.get("recursive", "").lower() == "true"
        found = await run_in_threadpool(session.files.listing, asked.directory, deep)
        return Json(asked.dialect.file_list(found))

    async def _upload(self, asked: Asked) -> Response:
        request = asked.request
        if int(request.headers.get("content-length") or 0) > FILE_BYTES_MAX + MULTIPART_BYTES_EXTRA:
            raise errors.too_large()
        limited = Request(request.scope, _limited(request, FILE_BYTES_MAX + MULTIPART_BYTES_EXTRA))
        if not limited.headers.get("content-type", "").startswith("multipart/form-data"):
            raise errors.validation("Content-Type", "must be multipart/form-data")
        form = await _form(limited)
        try:
            file = form.get("file")
            if not isinstance(file, UploadFile) or not file.filename:
                raise errors.validation("file", "is missing")
            session, _ = await self._pool.enter(asked.identifier)
            name = file.filename
            # Some clients name the file with the path of the directory where it ends up anyway.
            name = name.rpartition("/")[2] if re.match(r"/?mnt/data/[^/]+\Z", name) else name
            info = await run_in_threadpool(session.files.write, asked.directory, name, file.file)
        finally:
            await form.close()
        return Json(asked.dialect.uploaded(info))

    async def _file_info(self, asked: Asked) -> Response:
        session, _ = await self._pool.enter(asked.identifier)
        return Json(asked.dialect.file(await run_in_threadpool(session.files.info, asked.directory, asked.file_name)))

    async def _download(self, asked: Asked) -> Response:
        session, _ = await self._pool.enter(asked.identifier)
        return _Download(await run_in_threadpool(session.files.open, asked.directory, asked.file_name))

    async def _delete_file(self, asked: Asked) -> Response:
        session, _ = await self._pool.enter(asked.identifier)
        await run_in_threadpool(session.files.delete, asked.directory, asked.file_name)
        return Response(status_code=204)

    async def _get_session(self, asked: Asked) -> Response:
        return Json(self._session(self._pool.find(asked.identifier)))

    async def _delete_session(self, asked: Asked) -> Response:
        await self._pool.delete(asked.identifier)
        return Response(status_code=204)

    async def _list_sessions(self, asked: Asked) -> Response:
        text = asked.request.query_params.get("skip", "0")
        if not re.fullmatch(r"[0-9]{1,6}", text):
            raise errors.validation("skip", "must be a whole number")
        skip = int(text)
        sessions = self._pool.listing()
        rows = [self._session(session) for session in sessions[skip : skip + SESSIONS_LISTED]]
        more = skip + SESSIONS_LISTED < len(sessions)
        query = f"api-version={asked.dialect.version}&skip={skip + SESSIONS_LISTED}"
        return Json({"sessions": rows, "nextLink": f"{asked.url}/listSessions?{query}" if more else None})

    async def _get_metadata(self, asked: Asked) -> Response:
        return Json(await self._metadata.read())

    def _session(self, session: Session) -> dict[str, Any]:
        return {
            "identifier": session.identifier,
            "createdAt": rfc3339(session.created_at),
            "lastAccessedAt": rfc3339(session.accessed_at),
            "expireAt": rfc3339(self._pool.expires_at(session)),
            "etag": session.guid,
        }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


class _Download(StreamingResponse):
    """A file's content; the file is closed whether or not all of it is wanted."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_chunks(file), media_type="application/octet-stream")
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await run_in_threadpool(file.read, 1 << 20):
        yield chunk


async def json_body(request: Request) -> Any:
    """A request's JSON.

    Raises:
        Refusal: it is larger than 32 MB, or no JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_BYTES_MAX:
            raise Refusal(413, "RequestTooLarge", "The request is larger than 32 MB.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise errors.Malformed from None


async def _form(request: Request) -> FormData:
    try:
        # Parts above a megabyte go to a temporary file while they arrive.
        return await request.form(max_files=1, max_fields=10)
    except (HTTPException, MultiPartException):
        raise errors.validation("body", "must be a form with one file") from None


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
