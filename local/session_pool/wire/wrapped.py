"""API versions 2024-02-02-preview and 2024-08-02-preview: bodies wrapped in `properties`, `/code/execute`.

No specification of them was published: by the documentation of their time and by what the published clients send
and read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from local.session_pool import errors
from local.session_pool.execution import ExecutionRecord, ExecutionRequest
from local.session_pool.files import FileInfo
from local.session_pool.outcome import Outcome, value_of
from local.session_pool.wire import dialect
from local.session_pool.wire.dialect import Call, Dialect, Operation

_FIXED = {
    ("POST", "/code/execute"): Operation.EXECUTE,
    ("GET", "/files"): Operation.LIST_FILES,
    ("POST", "/files/upload"): Operation.UPLOAD,
}
_CONTENT = re.compile(r"/files/content/([^/]+)")
_FILE = re.compile(r"/files/([^/]+)")
_ONE_FILE = {"GET": Operation.FILE_INFO, "DELETE": Operation.DELETE_FILE}


class WrappedDialect(Dialect):
    """One of these versions."""

    code_name = "code"

    def call(self, method: str, path: str) -> Call | None:
        """The operation of a request."""
        if (method, path) in _FIXED:
            return Call(_FIXED[method, path])
        if method == "GET" and (found := _CONTENT.fullmatch(path)):
            return Call(Operation.DOWNLOAD, unquote(found[1]))
        if method in _ONE_FILE and (found := _FILE.fullmatch(path)):
            return Call(_ONE_FILE[method], unquote(found[1]))
        return None

    def execution_request(self, body: Any, *, takes_commands: bool, loose: bool = False) -> ExecutionRequest:
        """Reads the body of POST /code/execute."""
        if takes_commands:
            raise errors.not_supported(f"Shell execution is not supported in API version {self.version}")
        properties = body.get("properties") if isinstance(body, dict) else None
        if loose and properties is None:
            properties = body
        if not isinstance(properties, dict) or not isinstance(properties.get(self.code_name), str):
            raise errors.properties_missing(self.code_name)
        most = dialect.EXECUTION_SECONDS_MAX
        if dialect.asynchronous(properties):
            raise errors.not_implemented(f"Asynchronous execution in API version {self.version}")
        return ExecutionRequest(
            code=dialect.code_of(properties, self.code_name),
            timeout_seconds=dialect.whole(properties, "timeoutInSeconds", most, most, loose=loose),
            told_timeout=properties.get("timeoutInSeconds") is not None,
            stream_length=dialect.STREAM_LENGTH_DEFAULT,
        )

    def execution(self, record: ExecutionRecord) -> dict[str, Any]:
        """The reply for an execution; the value has two names, as clients read either."""
        return {"$id": "1", "properties": {"$id": "2", **outcome_row(record.outcome)}}

    def file(self, info: FileInfo) -> dict[str, Any]:
        """The reply for one file: a list of one."""
        return self.file_list([info])

    def file_list(self, infos: Sequence[FileInfo]) -> dict[str, Any]:
        """The reply for the content of a directory; these versions list files only."""
        rows = []
        for number, info in enumerate((info for info in infos if not info.is_directory), 1):
            properties = {
                "filename": info.name,
                "size": info.size_bytes,
                "lastModifiedTime": dialect.rfc3339(info.modified_at),
            }
            rows.append({"$id": str(2 * number), "properties": {"$id": str(2 * number + 1), **properties}})
        return {"$id": "1", "value": rows}


def outcome_row(outcome: Outcome | None) -> dict[str, Any]:
    """An execution's outcome in the words of these versions."""
    if outcome is None:
        return {"status": "Running"}
    value = _value(outcome)
    row = {
        "status": "Success" if outcome.succeeded else "Failure",
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": value,
        "executionTimeInMilliseconds": outcome.milliseconds,
    }
    # Clients take a picture's bytes out of `result` only: under a second name they would reach the model.
    return row if isinstance(value, dict) and "base64_data" in value else {**row, "executionResult": value}


def _value(outcome: Outcome) -> Any:
    # What the kernel prints for a value is read as JSON where it is JSON: this serves every published client.
    if not outcome.text:
        return outcome.result if outcome.result is not None else ""
    try:
        return value_of(outcome.text)
    except ValueError:
        return outcome.text
