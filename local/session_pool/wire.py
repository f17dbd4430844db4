"""What requests and replies look like, per API version.

A version is one `Dialect`; the core knows none of them. By the published specifications
(Azure/azure-rest-api-specs, Microsoft.App.DynamicSessions).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from local.session_pool import errors
from local.session_pool.files import FileInfo
from local.session_pool.kernel import Outcome

EXECUTION_SECONDS_MAX = 220
STREAM_LENGTH_DEFAULT = 4096
STREAM_LENGTH_MAX = 10_000_000
IDENTIFIER = re.compile(r"""[A-Za-z0-9_|}{\[\]:";'<>?/.,@#$%^&*()\-+=!~`]{4,128}""")


@dataclass(frozen=True)
class ExecutionRequest:
    """One execution asked for.

    Attributes:
        code: what to run.
        timeout_seconds: 1 to 220.
        told_timeout: whether the caller chose it, which the text after a timeout says.
        stream_length: most characters of each stream.
    """

    code: str
    timeout_seconds: float
    told_timeout: bool
    stream_length: int


@dataclass(frozen=True)
class ExecutionRecord:
    """One execution that has ended."""

    id: str
    identifier: str
    outcome: Outcome


@dataclass(frozen=True)
class Dialect:
    """One API version.

    Attributes:
        version: as in the query.
        execution_status: HTTP status of a synchronous execution.
        has_session_operations: GET and DELETE /session exist.
        has_stream_length: `outputStreamsMaxLength` is read.
        lists_recursively: file lists know `recursive` and `directory`.
    """

    version: str
    execution_status: int
    has_session_operations: bool
    has_stream_length: bool
    lists_recursively: bool

    def execution_request(self, body: Any) -> ExecutionRequest:
        """Reads the body of POST /executions.

        Raises:
            Refusal: it is not of the contract's form.
        """
        if not isinstance(body, dict) or "properties" in body or not isinstance(body.get("code"), str):
            raise errors.properties_missing()
        kind = _word(body, "executionType")
        if kind == "asynchronous":
            raise errors.not_implemented("Asynchronous execution")
        if kind != "synchronous":
            raise errors.validation("executionType", "must be Synchronous or Asynchronous")
        length = body.get("outputStreamsMaxLength", STREAM_LENGTH_DEFAULT) if self.has_stream_length else None
        return ExecutionRequest(
            code=_code(body),
            timeout_seconds=_whole(body, "timeoutInSeconds", EXECUTION_SECONDS_MAX, EXECUTION_SECONDS_MAX),
            told_timeout="timeoutInSeconds" in body,
            stream_length=STREAM_LENGTH_DEFAULT
            if length is None
            else _whole(body, "outputStreamsMaxLength", STREAM_LENGTH_DEFAULT, STREAM_LENGTH_MAX),
        )

    def execution(self, record: ExecutionRecord) -> dict[str, Any]:
        """The reply for an execution that has ended."""
        outcome = record.outcome
        return {
            "id": record.id,
            "identifier": record.identifier,
            "executionType": "Synchronous",
            "status": "Succeeded" if outcome.succeeded else "Failed",
            "result": {
                "stdout": outcome.stdout,
                "stderr": outcome.stderr,
                "executionResult": outcome.result,
                "executionTimeInMilliseconds": outcome.milliseconds,
            },
        }

    def file(self, info: FileInfo) -> dict[str, Any]:
        """The reply for one file or directory."""
        row = {
            "name": info.name,
            "type": "directory" if info.is_directory else "file",
            "contentType": info.content_type,
            "sizeInBytes": info.size_bytes,
            "lastModifiedAt": rfc3339(info.modified_at),
        }
        return {**row, "directory": info.directory or "."} if self.lists_recursively else row


DIALECTS: Mapping[str, Dialect] = {
    dialect.version: dialect
    for dialect in (
        Dialect("2024-10-02-preview", 202, False, False, False),
        Dialect("2025-02-02-preview", 200, True, False, False),
        Dialect("2025-10-02-preview", 200, True, True, True),
    )
}


def check_identifier(identifier: str) -> str:
    """The identifier, if it is of the documented form.

    Raises:
        Refusal: it is not.
    """
    if not IDENTIFIER.fullmatch(identifier):
        raise errors.validation("identifier", "must be 4 to 128 of the allowed characters")
    return identifier


def rfc3339(seconds: float) -> str:
    """A time since the epoch as the service writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _code(body: Mapping[str, Any]) -> str:
    kind = _word(body, "codeInputType")
    code: str = body["code"]
    if kind in ("inline", "inlinetext"):
        if any("\ud800" <= character <= "\udfff" for character in code):
            # JSON can escape half a surrogate pair, which no kernel takes.
            raise errors.validation("code", "is not Unicode text")
        return code
    if kind != "inlinebase64":
        raise errors.validation("codeInputType", "must be Inline, InlineText or InlineBase64")
    try:
        return base64.b64decode(code, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise errors.validation("code", "is not UTF-8 in base64") from None


def _word(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value.lower() if isinstance(value, str) else ""


def _whole(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise errors.validation(name, f"must be a whole number from 1 to {most}")
    return value
