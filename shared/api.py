"""The HTTP contract: what callers send, what they get, and what they are told when it goes wrong.

Handlers know nothing of the host: they take method, headers, query and body, and return a `Reply`.
Errors are problem details (RFC 9457).
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from shared import VERSION, telemetry
from shared.chat_reply import encoded, outcome_body, problem_body
from shared.deadline import Deadline
from shared.errors import ServiceError, SettingError
from shared.run_links import base_url
from shared.settings import Settings, current

_log = logging.getLogger(__name__)

# Their INFO and DEBUG lines hold URLs, and with them identifiers and content.
for _library in ("httpx", "httpcore", "urllib3", "azure", "msal", "openai"):
    logging.getLogger(_library).setLevel(logging.WARNING)
# Its warning about a malformed header holds the URL too.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Request:
    """An HTTP request.

    Attributes:
        method: upper case.
        headers: names in lower case.
        query: the parameters.
        body: as it came.
        route: the path's parameters.
    """

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""
    route: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An HTTP reply; `body` is UTF-8 JSON of the type in `headers`."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def health(request: Request) -> Reply:
    """Says that the app is alive, and its version; touches nothing."""
    return json_reply(200, {"status": "alive", "version": VERSION})


def chat(request: Request) -> Reply:
    """Answers one task: `POST` with JSON, or the tutorial's `GET ?message=`."""
    with telemetry.caller(request.headers):
        return answered(lambda: _chat(request))


def _chat(request: Request) -> Reply:
    received = time.monotonic()
    # pydantic doubles the time that the host needs to load the app.
    from shared.chat_request import ChatRequest, parse_body, parse_query

    settings = current()
    if request.method == "GET":
        asked = parse_query(request.query)
    else:
        asked = parse_body(request.body, request.headers.get("content-type", ""), ChatRequest)
    task_files = asked.decoded_files(settings)
    asked.check_limits(settings)
    deadline = Deadline(received + (asked.deadline_seconds or settings.chat_deadline_seconds))
    # AutoGen and the model's library take a second and 70 MB: only chats pay for them.
    from shared.chat import ChatTask, run_chat

    task = ChatTask(
        message=asked.message,
        session_id=asked.session_id,
        caller=caller_of(request.headers, settings),
        max_turns=asked.max_turns or settings.chat_max_turns,
        files=task_files,
    )
    return json_reply(200, outcome_body(run_chat(task, settings, deadline)))


def openapi(request: Request) -> Reply:
    """The API's document in OpenAPI 3.1."""
    return answered(lambda: _document("3.1", request))


def swagger(request: Request) -> Reply:
    """The API's document in OpenAPI 2.0, for Logic Apps."""
    return answered(lambda: _document("2.0", request))


def _document(version: str, request: Request) -> Reply:
    settings = current()
    try:
        base = base_url(request.headers, settings)
    except SettingError:
        # Only addresses that hold a token have to be ours beyond doubt.
        base = ""
    # There is no secret in it, and designers of workflows read it from a page.
    headers = {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}
    return Reply(200, _described(version, settings, base), headers)


@lru_cache(maxsize=8)
def _described(version: str, settings: Settings, base: str) -> bytes:
    from shared import openapi, swagger

    document = openapi.openapi(settings, base)
    return encoded(swagger.swagger(document) if version == "2.0" else document)


def caller_of(headers: Mapping[str, str], settings: Settings) -> str:
    """The Easy Auth principal, or empty where callers are not told apart.

    Anybody can send these headers: they count only where App Service authentication is on, which removes
    what came from outside (Microsoft, "Work with user identities in Azure App Service authentication").
    """
    if settings.website_auth_enabled.lower() != "true":
        return ""
    provider = headers.get("x-ms-client-principal-idp", "")
    principal = headers.get("x-ms-client-principal-id", "")
    return f"{provider}:{principal}" if principal else ""


def problem(error: ServiceError) -> Reply:
    """The reply for an error: problem details with its code and remedy."""
    return problem_reply(problem_body(error), error.retry_after_seconds)


def problem_reply(body: Mapping[str, Any], retry_after_seconds: int | None = None) -> Reply:
    """The reply for problem details, with the status that they name.

    Args:
        body: as `problem_body` makes it.
        retry_after_seconds: when asking again makes sense, if it is known; it counts with 429 and 503.
    """
    headers = {"Content-Type": "application/problem+json"}
    if body["status"] in (429, 503):
        headers["Retry-After"] = str(retry_after_seconds or 10)
    return json_reply(int(body["status"]), body, headers)


_Answer = TypeVar("_Answer")


def answered(handler: Callable[[], _Answer]) -> _Answer | Reply:
    """What the handler returns, or the problem that it ran into: no error gets past here."""
    telemetry.start()
    try:
        return handler()
    except ServiceError as error:
        telemetry.failure(error.code)
        if error.status >= 500:
            _log.warning("%s: %s", error.code, error.detail)
        return problem(error)
    except Exception as error:  # noqa: BLE001  # the last resort: callers get a problem, not an empty 500
        # The words of an unforeseen error may hold anything, so the log gets its type and place only.
        place = "".join(traceback.format_tb(error.__traceback__))
        _log.error("Unforeseen %s\n%s", type(error).__name__, place)
        telemetry.failure(ServiceError.code)
        return problem(ServiceError("An unforeseen error ended the request."))


def json_reply(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with this body as JSON; `headers` go over its own."""
    return Reply(status, encoded(body), {"Content-Type": "application/json", **(headers or {})})
