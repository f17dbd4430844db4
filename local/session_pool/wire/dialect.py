"""What every API version has in common: the operations, and how values in requests are read."""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from local.session_pool import errors
from local.session_pool.execution import ExecutionRecord, ExecutionRequest
from local.session_pool.files import FileInfo

EXECUTION_SECONDS_MAX = 220
STREAM_LENGTH_DEFAULT = 4096
STREAM_LENGTH_MAX = 10_000_000
# One argument of a program may have 128 KiB.
COMMAND_BYTES_MAX = 100_000
# Of the years 1 and 9999, since the epoch.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800.0, 253_402_300_799.0


class Operation(Enum):
    """What a request can ask for."""

    EXECUTE = "execute"
    GET_EXECUTION = "get execution"
    LIST_FILES = "list files"
    UPLOAD = "upload"
    FILE_INFO = "file"
    DOWNLOAD = "download"
    DELETE_FILE = "delete file"
    GET_SESSION = "get session"
    DELETE_SESSION = "delete session"
    LIST_SESSIONS = "list sessions"
    METADATA = "metadata"


POOL_WIDE = frozenset({Operation.LIST_SESSIONS, Operation.METADATA})


@dataclass(frozen=True)
class Call:
    """An operation, and the file or execution that it is about."""

    operation: Operation
    name: str = ""


class Dialect(ABC):
    """One API version: how it names operations, and how its bodies look. The core knows none of them.

    Args:
        version: as in the query parameter `api-version`.
    """

    lists_recursively = False

    def __init__(self, version: str) -> None:
        self.version = version

    @abstractmethod
    def call(self, method: str, path: str) -> Call | None:
        """The operation of a request; None where this version has none.

        Args:
            method: upper case.
            path: below the pool, without a slash at its end.
        """

    def identifier(self, query: Mapping[str, str], body: Any) -> str:
        """The session that a request names, unchecked.

        Args:
            query: the request's parameters.
            body: its JSON, None where it has none.
        """
        return query.get("identifier", "")

    @abstractmethod
    def execution_request(self, body: Any, *, takes_commands: bool, loose: bool = False) -> ExecutionRequest:
        """Reads the body of an execution.

        Args:
            body: JSON.
            takes_commands: the pool is a Shell pool.
            loose: forgive what the service does not.

        Raises:
            Refusal: it is not of the contract's form.
        """

    @abstractmethod
    def execution(self, record: ExecutionRecord) -> dict[str, Any]:
        """The reply for an execution."""

    def execution_status(self, record: ExecutionRecord) -> int:
        """The HTTP status of the reply to its request."""
        return 200

    @abstractmethod
    def file(self, info: FileInfo) -> dict[str, Any]:
        """The reply for one file."""

    @abstractmethod
    def file_list(self, infos: Sequence[FileInfo]) -> dict[str, Any]:
        """The reply for the content of a directory."""

    def uploaded(self, info: FileInfo) -> dict[str, Any]:
        """The reply for a file just stored."""
        return self.file(info)


def rfc3339(seconds: float) -> str:
    """A time since the epoch as the service writes it.

    Code in a session can give its files any time: what is out of a date's range becomes its first or last second.
    """
    time = datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), timezone.utc)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def word(body: Mapping[str, Any], name: str) -> str:
    """A value that counts regardless of case; empty when it is no text."""
    value = body.get(name)
    return value.lower() if isinstance(value, str) else ""


def code_of(body: Mapping[str, Any], name: str) -> str:
    """The code of a request, which `codeInputType` says how to read.

    Raises:
        Refusal: the type is unknown, or the code is not text of that type.
    """
    kind = word(body, "codeInputType")
    code: str = body[name]
    if kind in ("inline", "inlinetext"):
        return text_of(code, name)
    if kind != "inlinebase64":
        raise errors.validation("codeInputType", "must be Inline, InlineText or InlineBase64")
    try:
        return base64.b64decode(code, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise errors.validation(name, "is not UTF-8 in base64") from None


def text_of(value: str, name: str) -> str:
    """The text, if it is one that a program can take.

    Raises:
        Refusal: it has half of a surrogate pair, which JSON can escape.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise errors.validation(name, "is not Unicode text")
    return value


def whole(body: Mapping[str, Any], name: str, default: int, most: int, *, loose: bool = False) -> int:
    """A whole number from 1 to `most`.

    Raises:
        Refusal: it is anything else; where `loose`, a larger one counts as `most`.
    """
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (value <= most or loose):
        return min(value, most)
    raise errors.validation(name, f"must be a whole number from 1 to {most}")


def asynchronous(body: Mapping[str, Any]) -> bool:
    """Whether `executionType` asks for an answer at once.

    Raises:
        Refusal: it is neither Synchronous nor Asynchronous.
    """
    kind = word(body, "executionType")
    if kind not in ("synchronous", "asynchronous"):
        raise errors.validation("executionType", "must be Synchronous or Asynchronous")
    return kind == "asynchronous"
