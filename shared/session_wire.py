"""The session pool's wire format: request bodies, replies and errors as plain data.

By the documented contract of API versions 2024-10-02-preview to 2025-10-02-preview
(Azure/azure-rest-api-specs, Microsoft.App.DynamicSessions). Decoding is lenient: clients have to expect
unknown fields, both spellings of a status, and results of any JSON type.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import errors
from shared.retry import retry_after

DEFAULT_API_VERSION = "2025-10-02-preview"
EXECUTION_SECONDS_MAX = 220
# Where the version does not let a client choose.
STREAM_CHARACTERS = 4096
# `outputStreamsMaxLength` and `recursive` came with this version.
_STREAM_LIMIT_SINCE = "2025-10-02"
_OLDEST_VERSION = "2024-10-02"
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Picture:
    """A picture that an execution returned.

    Attributes:
        content_type: such as `image/png`.
        data: the picture's bytes.
    """

    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Execution:
    """What became of one piece of code.

    Attributes:
        succeeded: the service's own verdict; standard error alone is no failure.
        stdout, stderr: the streams, cut by the service without a mark.
        result: the last expression's value in JSON form; None when there is none.
        picture: the result, where it was one.
        new_allocation: the service started a new session for this execution.
        session_guid: names the container behind the session; another one means that state is lost.
        timeout_seconds: what the code was given.
        stdout_cut, stderr_cut: the stream is as long as the service lets it be, so its end is most likely missing.
    """

    succeeded: bool
    stdout: str
    stderr: str
    result: Any = None
    picture: Picture | None = None
    new_allocation: bool = False
    session_guid: str = ""
    timeout_seconds: int = EXECUTION_SECONDS_MAX
    stdout_cut: bool = False
    stderr_cut: bool = False


@dataclass(frozen=True)
class SessionFile:
    """A file in a session.

    Attributes:
        path: below /mnt/data, such as `sales.csv` or `out/plot.png`.
        size_bytes: its size.
        content_type: as the service says.
        modified_at: RFC 3339, as the service says; compare for equality only.
    """

    path: str
    size_bytes: int
    content_type: str
    modified_at: str


def check_api_version(version: str) -> None:
    """Refuses versions whose bodies are of another shape.

    Raises:
        SettingError: not a version of 2024-10-02-preview or later.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(-preview)?", version) or version < _OLDEST_VERSION:
        raise errors.SettingError(
            "SESSION_POOL_API_VERSION",
            "SESSION_POOL_API_VERSION is not 2024-10-02-preview or a later version.",
        )


def execution_body(api_version: str, code: str, *, timeout_seconds: int, stream_limit: int) -> dict[str, Any]:
    """The body of POST /executions: flat, synchronous, inline.

    Args:
        api_version: decides which fields are known.
        code: Python, or a cell magic.
        timeout_seconds: 1 to 220.
        stream_limit: most characters of each stream, where the version knows it.
    """
    body: dict[str, Any] = {
        "codeInputType": "Inline",
        "executionType": "Synchronous",
        "code": code,
        "timeoutInSeconds": timeout_seconds,
    }
    if api_version >= _STREAM_LIMIT_SINCE:
        body["outputStreamsMaxLength"] = stream_limit
    return body


def stream_characters(api_version: str, wanted: int) -> int:
    """Most characters of each stream that the service returns when `wanted` are asked for."""
    return wanted if api_version >= _STREAM_LIMIT_SINCE else STREAM_CHARACTERS


def knows_recursive_listing(api_version: str) -> bool:
    """Whether GET /files takes `recursive`."""
    return api_version >= _STREAM_LIMIT_SINCE


def knows_sessions(api_version: str) -> bool:
    """Whether GET and DELETE /session exist."""
    return api_version >= "2025-02-02"


def pending_execution(data: Mapping[str, Any]) -> str | None:
    """The id by which to ask again for an execution that has not ended; None for one that has.

    Raises:
        PoolOutcomeUnknown: it has not ended, and has no id.
    """
    if _text(data.get("status")).lower() not in ("notstarted", "running"):
        return None
    execution_id = _text(data.get("id"))
    if not execution_id:
        raise errors.PoolOutcomeUnknown
    return execution_id


def decode_execution(
    data: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    timeout_seconds: int = EXECUTION_SECONDS_MAX,
    stream_limit: int = STREAM_CHARACTERS,
) -> Execution:
    """Reads an execution that has ended.

    Args:
        data: the execution.
        headers: with lower-case names or a case-insensitive mapping.
        timeout_seconds: what the code was given.
        stream_limit: where the service cuts each stream, in characters.

    Raises:
        PoolRefused: it is none.
    """
    status = data.get("status")
    if not isinstance(status, str):
        raise errors.PoolRefused("The session pool's reply has no status.")
    result = data.get("result")
    outcome = result if isinstance(result, dict) else {}
    value = outcome.get("executionResult")
    picture = _picture(value)
    stdout, stderr = _text(outcome.get("stdout")), _text(outcome.get("stderr"))
    stderr_cut = len(stderr) >= stream_limit
    if status.lower() in ("canceled", "cancelled"):
        stderr = "\n".join(filter(None, [stderr, "The session pool canceled the execution before its end."]))
    return Execution(
        succeeded=status.lower() in ("succeeded", "success"),
        stdout=stdout,
        stderr=stderr,
        result=None if picture or value == "" else value,
        picture=picture,
        new_allocation=headers.get("x-ms-new-allocation", "").lower() == "true",
        session_guid=headers.get("x-ms-session-guid", ""),
        timeout_seconds=timeout_seconds,
        stdout_cut=len(stdout) >= stream_limit,
        stderr_cut=stderr_cut,
    )


def decode_file(data: Any) -> SessionFile:
    """Reads one file object.

    Raises:
        PoolRefused: it has no name.
    """
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise errors.PoolRefused("The session pool's reply describes no file.")
    directory = re.sub(r"^mnt/data(/|$)", "", _text(data.get("directory")).strip("/"))
    prefix = "" if directory == "." else directory
    size = data.get("sizeInBytes")
    return SessionFile(
        path=f"{prefix}/{data['name']}" if prefix else data["name"],
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) else 0,
        content_type=_text(data.get("contentType")) or "application/octet-stream",
        modified_at=_text(data.get("lastModifiedAt")),
    )


def decode_file_list(body: bytes) -> tuple[list[SessionFile], str | None]:
    """Reads a page of files, directories left out, and the link to the next page.

    Raises:
        PoolRefused: the reply is not a list of files.
    """
    data = json_object(body)
    rows = data.get("value")
    if not isinstance(rows, list):
        raise errors.PoolRefused("The session pool's reply is not a list of files.")
    files = [
        decode_file(row)
        for row in rows
        if not (isinstance(row, dict) and _text(row.get("type")).lower() == "directory")
    ]
    link = data.get("nextLink")
    return files, link if isinstance(link, str) and link else None


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> errors.PoolError:
    """Turns any refusal of the pool into the error that says what to do.

    The service's code is kept, its message is not: it may name the session.

    Args:
        status: the HTTP status, not 2xx.
        headers: with lower-case names or a case-insensitive mapping.
        body: in any of the documented shapes, or empty.
    """
    code = error_code(headers, body)
    suffix = f" (its code: {code})" if code else ""
    if code == "SessionsCountExceedsLimit" or status == 429:
        return errors.PoolFull(
            f"The session pool has no free session{suffix}.", retry_after_seconds=retry_after(headers)
        )
    if code in ("FileNotFound", "DeleteFileError"):
        return errors.SessionFileNotFound()
    kinds: dict[int, type[errors.PoolError]] = {
        401: errors.PoolUnauthorized,
        403: errors.PoolForbidden,
        404: errors.PoolNotFound,
        413: errors.PoolLimitExceeded,
    }
    kind = kinds.get(status) or (errors.PoolUnavailable if status >= 500 else errors.PoolRefused)
    return kind(f"The session pool answered {status}{suffix}.", retry_after_seconds=retry_after(headers))


def error_code(headers: Mapping[str, str], body: bytes) -> str:
    """The service's error code from whichever place it stands in; empty when there is none."""
    data = _json(body)
    candidates: list[Any] = []
    if isinstance(data, dict):
        inner = data.get("error")
        candidates = [inner.get("code") if isinstance(inner, dict) else None, data.get("code")]
    candidates.append(headers.get("x-ms-error-code"))
    for candidate in candidates:
        # Anything but a plain word could carry a name or an address.
        if isinstance(candidate, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{1,60}", candidate):
            return candidate
    return ""


def json_object(body: bytes) -> dict[str, Any]:
    """A reply's JSON object; what has no UTF-8 form in it is replaced.

    Raises:
        PoolRefused: the reply is anything else.
    """
    data = _json(body)
    if not isinstance(data, dict):
        raise errors.PoolRefused("The session pool's reply is not a JSON object.")
    return data


def _json(body: bytes) -> Any:
    text = body.decode("utf-8-sig", "replace")
    try:
        data = json.loads(text)
        # File names that are not UTF-8 come as lone surrogates, escaped: nobody could be sent those.
        if "\\u" in text:
            data = json.loads(_LONE_SURROGATES.sub("\ufffd", json.dumps(data, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None
    return data


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _picture(value: Any) -> Picture | None:
    if not isinstance(value, dict) or value.get("type") != "image":
        return None
    form, data = str(value.get("format")).lower(), value.get("base64_data")
    if not re.fullmatch(r"[a-z0-9.+-]{1,20}", form) or not isinstance(data, str):
        return None
    try:
        return Picture(f"image/{form}", base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None
