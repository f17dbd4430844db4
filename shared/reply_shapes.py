"""The JSON that callers get, as types: what the API documents say of it is generated from here.

For documents and tests only: replies themselves are made in `chat_reply` and `run_reply`, and tests hold the two
against each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ChatStatus = Literal["completed", "turn_limit", "deadline"]
GoingOnStatus = Literal["queued", "running"]
EndedStatus = Literal["completed", "turn_limit", "deadline", "budget", "cancelled", "failed"]
RunStatus = Literal["queued", "running", "completed", "turn_limit", "deadline", "budget", "cancelled", "failed"]


class Health(TypedDict):
    """The app is alive."""

    status: Literal["alive"]
    version: str


class Problem(TypedDict):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Field(description="The HTTP status.")]
    code: Annotated[str, Field(description="The fault, to be compared by programs.")]
    detail: Annotated[str, Field(description="What happened this time.")]
    remedy: Annotated[str, Field(description="What to do about it.")]
    field: NotRequired[Annotated[str, Field(description="The part of the request that is at fault.")]]


class Step(TypedDict):
    """One message of the two agents."""

    index: Annotated[int, Field(description="From 1.")]
    agent: Literal["CodeWriter", "CodeExecutor"]
    content: str
    exit_code: NotRequired[Annotated[int, Field(description="Of the code that the message reports on.")]]
    pictures: NotRequired[Annotated[list[str], Field(description="Names of the pictures that the code returned.")]]


class Usage(TypedDict):
    """Tokens of all model calls together."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Picture(TypedDict):
    """A picture that was made."""

    name: str
    content_type: str
    content: Base64


class File(TypedDict):
    """A file that was created or changed."""

    name: str
    size_bytes: int
    content_type: str
    content: NotRequired[Annotated[Base64, Field(description="Small files only.")]]


class Made(TypedDict):
    """What a chat has made."""

    result: Annotated[str, Field(description="The answer as text.")]
    pictures: list[Picture]
    files: list[File]
    warnings: NotRequired[Annotated[list[str], Field(description="What could not be fetched or is over a limit.")]]


class ChatReply(Made):
    """A chat that has been answered."""

    session_id: Annotated[str, Field(description="Send it back to go on in the same session.")]
    status: ChatStatus
    steps: list[Step]
    usage: Usage
    chat_history: Annotated[list[dict[str, Any]], Field(description="As AutoGen gives it.")]
    cost: Annotated[dict[str, Any], Field(description="As AutoGen gives it.")]


class CallbackState(TypedDict):
    """How far the callback is."""

    state: Literal["pending", "delivered", "given_up"]
    attempts: int
    last_status: Annotated[int | None, Field(description="The HTTP status of the last answer.")]


class AcceptedRun(TypedDict):
    """A run that has been accepted, or was before by the same key."""

    run_id: str
    status: RunStatus
    status_url: Annotated[Url, Field(description="Follow the run here; the address needs no key.")]
    cancel_url: Annotated[Url, Field(description="POST here to cancel; the address needs no key.")]
    session_id: Annotated[str, Field(description="Send it back to go on in the same session.")]


class RunProgress(TypedDict):
    """A run that goes on, as far as it is."""

    run_id: str
    status: GoingOnStatus
    status_url: Url
    cancel_url: Url
    session_id: str
    created_at: Time
    expires_at: Annotated[Time, Field(description="When the run's deadline is.")]
    cancel_requested: bool
    steps: list[Step]
    usage: Usage
    callback: NotRequired[CallbackState]
    problem: NotRequired[Annotated[Problem, Field(description="What the run waits for.")]]


class EndedRun(Made):
    """A run that has ended, with all that came of it."""

    run_id: str
    status: EndedStatus
    status_url: Url
    cancel_url: Url
    session_id: str
    created_at: Time
    expires_at: Time
    cancel_requested: bool
    steps: list[Step]
    usage: Usage
    callback: NotRequired[CallbackState]
    problem: NotRequired[Annotated[Problem, Field(description="Why a run with the status failed has failed.")]]
    chat_history: NotRequired[Annotated[list[dict[str, Any]], Field(description="As AutoGen gives it.")]]
    cost: NotRequired[Annotated[dict[str, Any], Field(description="As AutoGen gives it.")]]


class RunRow(TypedDict):
    """A run in a list."""

    run_id: str
    status: RunStatus
    created_at: Time
    expires_at: Time
    steps_count: int
    usage: Usage
    status_url: NotRequired[Annotated[Url, Field(description="For its owner; without a token.")]]
    cancel_url: NotRequired[Annotated[Url, Field(description="For its owner; without a token.")]]
    session_id: NotRequired[str]


class RunList(TypedDict):
    """The caller's runs, newest first."""

    runs: list[RunRow]
    continuation: Annotated[str | None, Field(description="Send it back for the next page; null on the last one.")]
