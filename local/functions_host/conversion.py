"""HTTP as the host and the Python worker convert it: request to `func.HttpRequest`, result to a reply.

Contract: azure-functions-host (GrpcMessageConversionExtensions, HttpBinding, RawScriptResult) and
`azure.functions.http`, whose own converter encodes responses here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.http import HttpRequest, HttpResponseConverter

TEXT = "text/plain; charset=utf-8"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
# The server frames the body; what a function says about it would contradict that.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
_NO_BODY = frozenset({204, 304})


class ResponseError(Exception):
    """A result that is no HTTP response: the invocation has failed."""


@dataclass(frozen=True)
class HttpReply:
    """What goes back to the caller; header names may come more than once (`set-cookie`)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


FAILED = HttpReply(500)
"""What a caller sees of a failed invocation: the reason is in the log only."""


def to_request(
    method: str,
    url: str,
    raw_headers: Iterable[tuple[bytes, bytes]],
    query: bytes,
    route: Mapping[str, str],
    body: bytes,
) -> func.HttpRequest:
    """The request as a function sees it.

    Args:
        method: as sent.
        url: all of it, with its query (and with a key in it, so it must not be logged).
        raw_headers: name and value of each header line.
        query: the query string as sent.
        route: the route's parameters.
        body: the whole body.
    """
    return HttpRequest(
        method=method,
        url=url,
        headers=join_headers(raw_headers),
        params=join_query(query),
        route_params=route,
        body_type="bytes",
        body=body,
    )


def join_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers with lower-case names; several values of one name joined with a comma."""
    values: dict[str, list[str]] = {}
    for name, value in raw_headers:
        values.setdefault(name.decode("latin-1").lower(), []).append(_header_text(value))
    return {name: ",".join(texts) for name, texts in values.items()}


def join_query(query: bytes) -> dict[str, str]:
    """Query parameters, names regardless of case; several values joined with a comma, empty ones dropped."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        if value:
            values.setdefault(names.setdefault(name.lower(), name), []).append(value)
    return {name: ",".join(texts) for name, texts in values.items()}


def to_reply(result: object) -> HttpReply:
    """The reply that a function's result stands for.

    Args:
        result: what an HTTP function with a `$return` binding returned.

    Raises:
        ResponseError: it is neither text nor `func.HttpResponse`, or no valid response.
    """
    if isinstance(result, str):
        return _checked(_from_text(result))
    try:
        encoded: dict[str, Any] = HttpResponseConverter.encode(result, expected_type=None).value
    except NotImplementedError:
        raise ResponseError(
            f'unable to encode outgoing TypedData: unsupported type "http" for Python type "{type(result).__name__}"'
        ) from None
    headers = [(str(name), str(datum.value)) for name, datum in encoded["headers"].items()]
    headers += [("set-cookie", line) for line in _cookies(encoded["cookies"] or ())]
    status = _status(encoded["status_code"].value)
    if status is None:
        raise ResponseError("the status code of the response is not a number")
    return _checked(HttpReply(status, tuple(headers), encoded["body"].value))


def _from_text(text: str) -> HttpReply:
    """Text that is JSON with a `body` is a whole response; other JSON is printed anew."""
    status, body = 200, text
    headers: dict[str, Any] = {}
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    else:
        body = _printed(content, text)
    fields = {str(name).lower(): value for name, value in content.items()} if isinstance(content, dict) else {}
    if "body" in fields:
        inner = fields["body"]
        body = inner if isinstance(inner, str) else _printed(inner, json.dumps(inner), indent=None)
        headers = fields["headers"] if isinstance(fields.get("headers"), dict) else {}
        found = _status(fields.get("statuscode", fields.get("status")))
        status = 200 if found is None else found
    lines = {str(name): "" if value is None else str(value) for name, value in headers.items()}
    if not any(name.lower() == "content-type" for name in lines):
        lines["content-type"] = TEXT
    return HttpReply(status, tuple(lines.items()), body.encode("utf-8", "replace"))


def _printed(content: object, source: str, indent: int | None = 2) -> str:
    if content is None:
        return ""
    if isinstance(content, bool):
        return str(content)
    if isinstance(content, (dict, list)):
        return json.dumps(content, indent=indent, ensure_ascii=False, separators=None if indent else (",", ":"))
    return content if isinstance(content, str) else source.strip()


def _cookies(cookies: Iterable[SimpleCookie]) -> Iterable[str]:
    for cookie in cookies:
        for morsel in cookie.values():
            _check_cookie(morsel["expires"], morsel["max-age"])
            yield morsel.OutputString()


def _check_cookie(expires: str, max_age: str) -> None:
    try:
        if expires:
            datetime.strptime(expires, "%a, %d %b %Y %H:%M:%S GMT")
        if max_age:
            float(max_age)
    except ValueError as error:
        raise ResponseError(f"a cookie of the response is malformed: {error}") from error


def _status(value: object) -> int | None:
    try:
        return int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        return None


def _checked(reply: HttpReply) -> HttpReply:
    if not 200 <= reply.status <= 999:
        raise ResponseError(f"{reply.status} is no status code of a final response")
    headers = tuple((name, value) for name, value in reply.headers if name.lower() not in _FRAMING)
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ResponseError("a header of the response has a character that HTTP does not allow")
    return HttpReply(reply.status, headers, b"" if reply.status in _NO_BODY else reply.body)


def _header_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
