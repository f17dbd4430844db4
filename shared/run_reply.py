"""What callers get of a run as JSON: while it goes on, when it has ended, and in a list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from shared.chat_reply import step_body

if TYPE_CHECKING:
    from shared.run_links import RunLinks
    from shared.runs import Run

# What a chat's reply always has; a run that was cancelled or failed early has made nothing.
_NOTHING_MADE: Mapping[str, Any] = {"result": "", "pictures": [], "files": []}


def accepted_body(run: Run, links: RunLinks) -> dict[str, Any]:
    """The answer to a post: what is needed to follow the run."""
    return {
        "run_id": run.run_id,
        "status": run.status,
        "status_url": links.status_url(run.run_id),
        "cancel_url": links.cancel_url(run.run_id),
        "session_id": run.session_id,
    }


def progress_body(run: Run, links: RunLinks, after: int = 0) -> dict[str, Any]:
    """A run as far as it is: with the steps after that one."""
    body = {
        **accepted_body(run, links),
        "created_at": _time(run.created_at),
        "expires_at": _time(run.expires_at),
        "cancel_requested": run.cancel_requested,
        "steps": [step_body(step) for step in run.steps if step.index > after],
        "usage": asdict(run.usage),
    }
    if run.problem is not None:
        body["problem"] = dict(run.problem)
    if run.callback is not None:
        callback = run.callback
        body["callback"] = {
            "state": callback.state,
            "attempts": callback.attempts,
            "last_status": callback.last_status,
        }
    return body


def ended_body(run: Run, reply: bytes | None, links: RunLinks, after: int = 0) -> dict[str, Any]:
    """A run that has ended: all that a chat's reply has, and what only a run has.

    Args:
        run: that has ended.
        reply: of the chat, as the worker saved it; None where there is none.
        links: for the run's addresses.
        after: the last step that the caller has already.
    """
    made: dict[str, Any] = json.loads(reply) if reply is not None else {}
    return {**_NOTHING_MADE, **made, **progress_body(run, links, after)}


def row_body(run: Run, address: str | None) -> dict[str, Any]:
    """A run in a list.

    Args:
        run: any of the caller's.
        address: where its owner finds it, without a token; None where callers are not told apart: the list is then
            the same for all who have the function key, and what would open a run or a session is not in it.
    """
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "status": run.status,
        "created_at": _time(run.created_at),
        "expires_at": _time(run.expires_at),
        "steps_count": len(run.steps),
        "usage": asdict(run.usage),
    }
    if address is not None:
        row.update(status_url=address, cancel_url=f"{address}/cancel", session_id=run.session_id)
    return row


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
