"""API versions 2024-10-02-preview and later: flat bodies, `/executions`, and files by name.

By the published specifications (Azure/azure-rest-api-specs, Microsoft.App.DynamicSessions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from local.session_pool import errors
from local.session_pool.execution import ExecutionRecord, ExecutionRequest
from local.session_pool.files import FileInfo
from local.session_pool.wire import dialect
from local.session_pool.wire.dialect import Call, Dialect, Operation, whole

_FILE = re.compile(r"/files/([^/]+)(/content)?")
_EXECUTION = re.compile(r"/executions/([\w-]{1,100})")
_FIXED = {
    ("POST", "/executions"): Operation.EXECUTE,
    ("GET", "/files"): Operation.LIST_FILES,
    ("POST", "/files"): Operation.UPLOAD,
}
_SESSIONS = {
    ("GET", "/session"): Operation.GET_SESSION,
    ("DELETE", "/session"): Operation.DELETE_SESSION,
    ("GET", "/listSessions"): Operation.LIST_SESSIONS,
    ("GET", "/metadata"): Operation.METADATA,
}
_ONE_FILE = {
    ("GET", False): Operation.FILE_INFO,
    ("GET", True): Operation.DOWNLOAD,
    ("DELETE", False): Operation.DELETE_FILE,
}


class FlatDialect(Dialect):
    """One of these versions.

    Args:
        version: as in the query.
        accepted_status: HTTP status of a synchronous execution.
        has_sessions: sessions can be shown, listed and ended; Shell pools can be used.
        has_options: `outputStreamsMaxLength` and `useEmptyKernel` are read; file lists know `recursive` and
            `directory`.
    """

    def __init__(self, version: str, *, accepted_status: int, has_sessions: bool, has_options: bool) -> None:
        super().__init__(version)
        self._accepted_status = accepted_status
        self._has_sessions = has_sessions
        self._has_options = has_options
        self.lists_recursively = has_options

    def call(self, method: str, path: str) -> Call | None:
        """The operation of a request."""
        fixed = {**_FIXED, **_SESSIONS} if self._has_sessions else _FIXED
        if (method, path) in fixed:
            return Call(fixed[method, path])
        if method == "GET" and (found := _EXECUTION.fullmatch(path)):
            return Call(Operation.GET_EXECUTION, found[1])
        if (found := _FILE.fullmatch(path)) and (method, bool(found[2])) in _ONE_FILE:
            return Call(_ONE_FILE[method, bool(found[2])], unquote(found[1]))
        return None

    def execution_request(self, body: Any, *, takes_commands: bool, loose: bool = False) -> ExecutionRequest:
        """Reads the body of POST /executions."""
        if loose and isinstance(body, dict) and isinstance(body.get("properties"), dict):
            body = body["properties"]
        if not isinstance(body, dict) or "properties" in body:
            raise errors.properties_missing()
        if takes_commands:
            return self._command_request(body, loose)
        if not isinstance(body.get("code"), str):
            raise errors.properties_missing()
        return ExecutionRequest(
            code=dialect.code_of(body, "code"),
            asynchronous=dialect.asynchronous(body),
            empty_kernel=self._has_options and body.get("useEmptyKernel") is True,
            **self._limits(body, loose),
        )

    def execution(self, record: ExecutionRecord) -> dict[str, Any]:
        """The reply for an execution."""
        outcome = record.outcome
        row: dict[str, Any] = {
            "id": record.id,
            "identifier": record.identifier,
            "executionType": "Asynchronous" if record.asynchronous else "Synchronous",
            "status": "Running",
        }
        if outcome is None:
            return row
        streams = {"stdout": outcome.stdout, "stderr": outcome.stderr}
        time = {"executionTimeInMilliseconds": outcome.milliseconds}
        if outcome.exit_code is not None:
            return {"identifier": record.identifier, "status": str(outcome.exit_code), "result": {**streams, **time}}
        row["status"] = "Succeeded" if outcome.succeeded else "Failed"
        return {**row, "result": {**streams, "executionResult": outcome.result, **time}}

    def execution_status(self, record: ExecutionRecord) -> int:
        """The HTTP status of the reply to its request."""
        return 202 if record.asynchronous else self._accepted_status

    def file(self, info: FileInfo) -> dict[str, Any]:
        """The reply for one file or directory."""
        row = {
            "name": info.name,
            "type": "directory" if info.is_directory else "file",
            "contentType": info.content_type,
            "sizeInBytes": info.size_bytes,
            "lastModifiedAt": dialect.rfc3339(info.modified_at),
        }
        return {**row, "directory": info.directory or "."} if self._has_options else row

    def file_list(self, infos: Sequence[FileInfo]) -> dict[str, Any]:
        """The reply for the content of a directory."""
        return {"value": [self.file(info) for info in infos], "nextLink": None}

    def _command_request(self, body: Mapping[str, Any], loose: bool) -> ExecutionRequest:
        if not self._has_sessions:
            raise errors.not_supported(f"Shell execution is not supported in API version {self.version}")
        for name in ("execCommandAndArgs", "stdin"):
            if name in body:
                raise errors.not_implemented(name)
        command = body.get("shellCommand")
        if not isinstance(command, str) or "code" in body:
            raise errors.properties_missing("shellCommand")
        for name in ("codeInputType", "executionType"):
            if name in body and not loose:
                raise errors.validation(name, "is not for a pool of this type")
        if len(command.encode("utf-8", "replace")) > dialect.COMMAND_BYTES_MAX or "\0" in command:
            raise errors.validation("shellCommand", f"must be text of at most {dialect.COMMAND_BYTES_MAX} bytes")
        return ExecutionRequest(code=dialect.text_of(command, "shellCommand"), **self._limits(body, loose))

    def _limits(self, body: Mapping[str, Any], loose: bool) -> dict[str, Any]:
        most = dialect.EXECUTION_SECONDS_MAX
        length = dialect.STREAM_LENGTH_DEFAULT
        if self._has_options:
            length = whole(body, "outputStreamsMaxLength", length, dialect.STREAM_LENGTH_MAX, loose=loose)
        return {
            "timeout_seconds": whole(body, "timeoutInSeconds", most, most, loose=loose),
            "told_timeout": body.get("timeoutInSeconds") is not None,
            "stream_length": length,
        }
