"""The refusals of the service, with its codes and sentences."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        code: the service's error code; empty for a refusal without a body.
        message: the service's sentence.
        target: the part of the request that it is about.
        flat: the body is `{"code", "message"}` instead of `{"error": {...}}`.
        headers: of the reply.
    """

    def __init__(
        self,
        status: int,
        code: str = "",
        message: str = "",
        *,
        target: str = "",
        flat: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message or code or str(status))
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.flat = flat
        self.headers = headers or {}

    def body(self) -> dict[str, Any] | None:
        """The JSON body, None where there is none."""
        if not self.code:
            return None
        row = {"code": self.code, "message": self.message}
        if self.target:
            row["target"] = self.target
        return row if self.flat else {"error": row}


class Malformed(Refusal):
    """400: the body is no JSON, which is refused as problem details (RFC 9457) instead of the usual envelope."""

    def __init__(self) -> None:
        super().__init__(400, headers={"content-type": "application/problem+json"})

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {
            "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
            "title": "One or more validation errors occurred.",
            "status": 400,
            "errors": {"$": ["The body is not valid JSON."]},
        }


def validation(target: str, message: str) -> Refusal:
    """400: a part of the request is not of its form."""
    return Refusal(400, "SessionRequestValidationFailed", f"{target}: {message}", target=target)


def properties_missing(name: str = "code") -> Refusal:
    """400: what is to be run is missing, or the body is of another version or kind of pool."""
    return Refusal(400, "SessionPropertiesMissing", f"Required properties are missing: {name}.")


def not_supported(message: str) -> Refusal:
    """400: not in this API version, or not on this kind of pool."""
    return Refusal(400, "SessionRequestNotSupported", message)


def not_implemented(what: str) -> Refusal:
    """501: the service does it, this emulator does not."""
    return Refusal(501, "NotImplemented", f"{what} is not implemented by the local session pool.")


def no_operation() -> Refusal:
    """404: no version has such an operation."""
    return Refusal(404, "NotFound", "There is no such operation.")


def no_session() -> Refusal:
    """404: no session has that identifier."""
    return Refusal(404, "NoSessionFoundError", "Could not find session with that name.")


def pool_full(active: int, most: int, status: int = 429) -> Refusal:
    """429, or the 404 that one page of the documentation names: every session is taken."""
    return Refusal(
        status,
        "SessionsCountExceedsLimit",
        f"The request sessions count is '1'. There are already '{active}' active sessions and the maximum active "
        f"sessions count is '{most}'.",
        flat=True,
    )


def session_busy() -> Refusal:
    """429: too many executions of one session are waiting."""
    return Refusal(429, "TooManyRequests", "Too many executions of this session are waiting.", flat=True)


def no_capacity() -> Refusal:
    """503: the machine gives no further session."""
    return Refusal(503, "SessionAllocationFailed", "A session could not be started.", headers={"retry-after": "5"})


def file_not_found() -> Refusal:
    """404: no file of that name."""
    return Refusal(404, "FileNotFound", "The file was not found.")


def file_not_deleted() -> Refusal:
    """404: no file of that name, when one is to be deleted."""
    return Refusal(404, "DeleteFileError", "The file was not found.")


def path_invalid() -> Refusal:
    """400: a path or name with characters that the service reserves."""
    return Refusal(
        400,
        "FilePathInvalid",
        "The file path is invalid because 'path cannot contain any reserved file path characters'.",
    )


def disk_full() -> Refusal:
    """507: the session's disk has no room for the file. What the service answers is not published: an assumption."""
    return Refusal(507, "InsufficientStorage", "The session has no room for the file.")


def too_large() -> Refusal:
    """413: an upload over 128 MB."""
    return Refusal(413, "FileTooLarge", "The file is larger than 128 MB.")
