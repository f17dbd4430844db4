"""The stand-in model's rules for time; each takes a plain question and gives code, or None."""

from __future__ import annotations

import re

from local.model_questions import has_only

_NOW = re.compile(
    r"(?:what )?(?:(?:time|date|day) (?:is it|is today)"
    r"|(?:the )?(?:current |today's )?(?:time|date|day)(?: and (?:the )?(?:time|date))?)"
    r"(?: (?:right now|now|today|currently|at the moment|in utc|utc))*"
)
_DATE = re.compile(r"\b([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})\b")
_BETWEEN = "how many days are were there between and from to until passed number of the lie"


def now(question: str) -> str | None:
    """The time and the date, in UTC."""
    if not _NOW.fullmatch(question):
        return None
    return (
        "from datetime import datetime, timezone\n\nprint(datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M:%S UTC'))"
    )


def days_between(question: str) -> str | None:
    """The days between two dates."""
    dates = _DATE.findall(question)
    rest = _DATE.sub(" ", question)
    if len(dates) != 2 or "days" not in rest or not has_only(rest, _BETWEEN):
        return None
    first, second = (", ".join(str(int(part)) for part in date) for date in dates)
    return f"from datetime import date\n\nprint(abs((date({second}) - date({first})).days))"
