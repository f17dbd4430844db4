"""Durations as `host.json` writes them."""

from __future__ import annotations

import re

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,7})?)")


def seconds(text: object) -> float | None:
    """The seconds of a .NET time span, `[d.]hh:mm:ss[.fffffff]`; None for anything else."""
    match = _TIME_SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    days, hours, minutes, rest = match.groups()
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest)
