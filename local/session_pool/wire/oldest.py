"""The paths of the time before versions: `/python/execute`, and the identifier in the body.

The tutorial's sample sends them without a version, early Semantic Kernel and LangChain with or without a later one.
No document of them is left; by what these send and read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local.session_pool.execution import ExecutionRecord
from local.session_pool.files import FileInfo
from local.session_pool.wire.dialect import Call, Operation, rfc3339
from local.session_pool.wire.wrapped import WrappedDialect, outcome_row

PREFIX = "/python/"
_CALLS = {
    ("POST", "/python/execute"): Operation.EXECUTE,
    ("GET", "/python/files"): Operation.LIST_FILES,
    ("POST", "/python/uploadFile"): Operation.UPLOAD,
    ("GET", "/python/downloadFile"): Operation.DOWNLOAD,
}


class OldestDialect(WrappedDialect):
    """These paths; `version` is what errors name."""

    code_name = "pythonCode"

    def call(self, method: str, path: str) -> Call | None:
        """The operation of a request; the file to download is named in the query."""
        operation = _CALLS.get((method, path))
        return Call(operation) if operation else None

    def identifier(self, query: Mapping[str, str], body: Any) -> str:
        """The session that a request names: in the query, or for executions in the body."""
        properties = body.get("properties") if isinstance(body, dict) else None
        inner = properties.get("identifier") if isinstance(properties, dict) else None
        return query.get("identifier", "") or (inner if isinstance(inner, str) else "")

    def execution(self, record: ExecutionRecord) -> dict[str, Any]:
        """The reply for an execution: all of it at the top."""
        return {"$id": "1", **outcome_row(record.outcome)}

    def file_list(self, infos: Sequence[FileInfo]) -> dict[str, Any]:
        """The reply for the content of a directory; the size has two names, as clients read either."""
        rows = [
            {"$id": str(number), **_row(info)}
            for number, info in enumerate((info for info in infos if not info.is_directory), 2)
        ]
        return {"$id": "1", "$values": rows}

    def uploaded(self, info: FileInfo) -> dict[str, Any]:
        """The reply for a file just stored, which some clients read at its top."""
        return {**self.file_list([info]), **_row(info)}


def _row(info: FileInfo) -> dict[str, Any]:
    return {
        "filename": info.name,
        "size": info.size_bytes,
        "bytes": info.size_bytes,
        "last_modified_time": rfc3339(info.modified_at),
    }
