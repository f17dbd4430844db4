"""What requests and replies look like, per API version: one adapter each over one core."""

from __future__ import annotations

from collections.abc import Mapping

from local.session_pool.wire.dialect import Call, Dialect, Operation
from local.session_pool.wire.flat import FlatDialect
from local.session_pool.wire.oldest import PREFIX, OldestDialect
from local.session_pool.wire.wrapped import WrappedDialect

NEWEST = "2025-10-02-preview"
OLDEST = OldestDialect("2023-08-01-preview")
DIALECTS: Mapping[str, Dialect] = {
    dialect.version: dialect
    for dialect in (
        WrappedDialect("2024-02-02-preview"),
        WrappedDialect("2024-08-02-preview"),
        FlatDialect("2024-10-02-preview", accepted_status=202, has_sessions=False, has_options=False),
        FlatDialect("2025-02-02-preview", accepted_status=200, has_sessions=True, has_options=False),
        FlatDialect(NEWEST, accepted_status=200, has_sessions=True, has_options=True),
    )
}


def dialect_of(version: str, path: str, *, loose: bool) -> Dialect | None:
    """The dialect that a request speaks; None for a version that does not exist.

    Args:
        version: its query parameter `api-version`, empty when it has none.
        path: below the pool.
        loose: take the newest for one that does not exist.
    """
    if path.startswith(PREFIX) and (version in ("", OLDEST.version) or version in DIALECTS):
        return OLDEST
    return DIALECTS.get(version) or (DIALECTS[NEWEST] if loose else None)


def speakers(method: str, path: str) -> list[tuple[Dialect, Call]]:
    """The dialects that know an operation, and what it is in them; the newest last."""
    known = ((dialect, dialect.call(method, path)) for dialect in (OLDEST, *DIALECTS.values()))
    return [(dialect, call) for dialect, call in known if call is not None]


__all__ = ["DIALECTS", "NEWEST", "OLDEST", "Call", "Dialect", "Operation", "dialect_of", "speakers"]
