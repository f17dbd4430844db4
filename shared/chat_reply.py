"""What callers get of a chat as JSON, whether at once or by way of a run: its outcome, or the problem that ended it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shared.errors import InvalidRequest, ServiceError

if TYPE_CHECKING:
    from shared.chat import ChatOutcome
    from shared.harvest import Harvest, MadeFile
    from shared.steps import Step


def outcome_body(outcome: ChatOutcome) -> dict[str, Any]:
    """The reply for a chat that came to an end of its own."""
    return {
        "session_id": outcome.session_id,
        "status": outcome.status,
        "result": outcome.result,
        "steps": [step_body(step) for step in outcome.steps],
        **_harvest(outcome.harvest),
        "usage": asdict(outcome.usage),
        "chat_history": outcome.chat_history,
        "cost": outcome.cost,
    }


def step_body(step: Step) -> dict[str, Any]:
    """One step; what does not apply to it is left out."""
    row: dict[str, Any] = {"index": step.index, "agent": step.agent, "content": step.content}
    if step.exit_code is not None:
        row["exit_code"] = step.exit_code
    if step.pictures:
        row["pictures"] = list(step.pictures)
    return row


def problem_body(error: ServiceError) -> dict[str, Any]:
    """Problem details (RFC 9457) with the error's code and remedy."""
    body: dict[str, Any] = {
        "type": f"urn:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "remedy": error.remedy,
    }
    if isinstance(error, InvalidRequest) and error.field:
        body["field"] = error.field
    return body


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body's bytes."""
    text = json.dumps(body, ensure_ascii=False, default=str)
    # Lone surrogates can come out of a session's output and have no UTF-8 form.
    return text.encode("utf-8", "replace")


def _harvest(harvest: Harvest) -> dict[str, Any]:
    pictures = [
        {
            "name": made.name,
            "content_type": made.picture.content_type,
            "content": base64.b64encode(made.picture.data).decode("ascii"),
        }
        for made in harvest.pictures
    ]
    rows: dict[str, Any] = {"pictures": pictures, "files": [_file(made) for made in harvest.files]}
    if harvest.warnings:
        rows["warnings"] = list(harvest.warnings)
    return rows


def _file(made: MadeFile) -> dict[str, Any]:
    file = made.file
    row: dict[str, Any] = {"name": file.path, "size_bytes": file.size_bytes, "content_type": file.content_type}
    if made.content is not None:
        row["content"] = base64.b64encode(made.content).decode("ascii")
    return row
