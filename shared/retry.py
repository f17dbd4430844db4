"""When to try again: one policy for the session pool and the model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.deadline import Deadline

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5


def pause(attempt: int, headers: Mapping[str, str], deadline: Deadline) -> float | None:
    """Seconds to wait before the next attempt, as the service says, or else longer each time.

    Args:
        attempt: the number of the one that has just failed, from 1.
        headers: of its reply; empty where there was none.
        deadline: bounds all attempts and pauses together.

    Returns:
        None where there is no next attempt: their number or the time is used up, or the deadline has none.
    """
    told = retry_after(headers)
    seconds = told if told is not None else FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
    return seconds if deadline.retries and attempt < ATTEMPTS and seconds < deadline.remaining() else None


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds of a Retry-After header; None where it is absent or a date.

    Args:
        headers: with lower-case names or a case-insensitive mapping.
    """
    text = headers.get("retry-after", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None
