"""A run as data: a chat that outlives its HTTP request. Nothing here reads or writes anything."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

from shared.session_wire import SessionFile
from shared.steps import Step, Usage

QUEUED, RUNNING = "queued", "running"
COMPLETED, TURN_LIMIT, DEADLINE, BUDGET = "completed", "turn_limit", "deadline", "budget"
CANCELLED, FAILED = "cancelled", "failed"
ENDED = frozenset({COMPLETED, TURN_LIMIT, DEADLINE, BUDGET, CANCELLED, FAILED})

RUN_ID_PATTERN = r"[0-9a-f]{32}"
CALLBACK_URL_CHARACTERS_MAX = 4096

CallbackState = Literal["pending", "delivered", "given_up"]
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Callback:
    """Where a run's reply is posted when it has ended, and what became of that.

    Attributes:
        url: a secret, because it is signed: never logged, never in a reply.
        state: `pending`, `delivered` or `given_up`.
        attempts: how often it was posted.
        last_status: HTTP status of the last answer; None where there was none.
    """

    url: str = field(repr=False)
    state: CallbackState = "pending"
    attempts: int = 0
    last_status: int | None = None


@dataclass(frozen=True)
class Run:
    """A run's record: everything about it but its input files and its reply's bytes.

    Attributes:
        run_id: a uuid4 as 32 hexadecimal digits.
        owner: `owner_of` its caller.
        caller: who asked; empty where callers are not told apart. The session's identifier is derived from it.
        created_at: seconds since the epoch.
        expires_at: seconds since the epoch: the chat's deadline.
        message: the task in plain words.
        session_id: the session that it works in.
        session_is_new: that was made for this run, so that nothing of an earlier conversation can be missing in it.
        max_turns: most messages of the writer.
        token_budget: the model is not called again once so many tokens are used; None for no limit.
        files: names of the files that came with the task; their contents lie beside the record.
        status: `queued`, `running`, or how it ended.
        steps: every message so far.
        usage: tokens so far, all attempts together.
        known_files: what the session had, by path, before the chat made anything.
        cancel_requested: it is to end at its next step.
        attempts: how many deliveries have begun to work on it.
        waits: how many of them have put it off because a service was busy.
        pending: `execution` where code was about to run when the last step was saved, else empty.
        problem: problem details of a run that failed, or of what it waits for.
        callback: None where the reply is fetched.
        traceparent: of the post, in the form of W3C's trace context; empty where nothing is measured.
    """

    run_id: str
    owner: str
    caller: str = field(repr=False)
    created_at: float
    expires_at: float
    message: str = field(repr=False)
    session_id: str = field(repr=False)
    max_turns: int
    token_budget: int | None = None
    session_is_new: bool = False
    files: tuple[str, ...] = ()
    status: str = QUEUED
    steps: tuple[Step, ...] = field(default=(), repr=False)
    usage: Usage = field(default_factory=Usage)
    known_files: Mapping[str, SessionFile] = field(default_factory=dict, repr=False)
    cancel_requested: bool = False
    attempts: int = 0
    waits: int = 0
    pending: str = ""
    problem: Mapping[str, Any] | None = None
    callback: Callback | None = None
    traceparent: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen to it, its callback aside."""
        return self.status in ENDED

    def to_json(self) -> bytes:
        """The record as it is stored."""
        # ASCII with escapes: a lone surrogate in a message has no bytes in UTF-8.
        return json.dumps(asdict(self), separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Run:
        """The run of a record; fields that a later version has added are left out.

        Raises:
            ValueError: it is no record of a run.
        """
        try:
            return _run(json.loads(data))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no record of a run ({type(error).__name__})") from error


def is_run_id(text: str) -> bool:
    """Whether it has the form of a run's id: others never get into a blob's name."""
    return re.fullmatch(RUN_ID_PATTERN, text) is not None


def owner_of(caller: str) -> str:
    """By what a caller's runs are found: SHA-256 of the caller, in hexadecimal; an empty caller has one too."""
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()


def _run(row: Mapping[str, Any]) -> Run:
    values = _known(Run, row)
    callback = values.get("callback")
    return Run(
        **{
            **values,
            "files": tuple(values.get("files", ())),
            "steps": tuple(_step(step) for step in values.get("steps", ())),
            "usage": Usage(**_known(Usage, values.get("usage", {}))),
            "known_files": {
                path: SessionFile(**_known(SessionFile, file)) for path, file in values.get("known_files", {}).items()
            },
            "callback": Callback(**_known(Callback, callback)) if callback is not None else None,
        }
    )


def _step(row: Mapping[str, Any]) -> Step:
    values = _known(Step, row)
    return Step(**{**values, "pictures": tuple(values.get("pictures", ()))})


def _known(kind: type[_Row], row: Mapping[str, Any]) -> dict[str, Any]:
    """The values that this version knows; an earlier one may have written less, and then defaults count."""
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]  # all of them are dataclasses
    return {name: value for name, value in row.items() if name in names}
