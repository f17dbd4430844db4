"""Runs to be kept, and a storage that fails when a test says so."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, cast

from shared.runs import Run, owner_of
from shared.storage import Storage


def new_run(caller: str = "somebody", **changes: Any) -> Run:
    """A run like one that was just asked for: its own id, session and times."""
    run_id, now = uuid.uuid4().hex, time.time()
    values: dict[str, Any] = {
        "run_id": run_id,
        "owner": owner_of(caller),
        "caller": caller,
        "created_at": now,
        "expires_at": now + 1200,
        "message": "Plot it",
        "session_id": uuid.uuid4().hex,
        "max_turns": 10,
    }
    return Run(**{**values, **changes})


class StorageThatFails:
    """Stands before a storage and lets one of the calls fail.

    Args:
        storage: does the work.
        number: of the call that fails, from 1; 0 for none.
        error: what that call raises.
        late: it fails after its work is done, as when an answer is lost.
        ever_after: all later calls fail too.
    """

    def __init__(
        self, storage: Storage, number: int, error: Exception, *, late: bool = False, ever_after: bool = False
    ) -> None:
        self.calls: list[str] = []
        self._storage = storage
        self._number = number
        self._error = error
        self._late = late
        self._ever_after = ever_after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            fails = len(self.calls) == self._number or (self._ever_after and len(self.calls) > self._number > 0)
            if fails and not self._late:
                raise self._error
            result = method(*arguments, **options)
            if fails:
                raise self._error
            return result

        return call

    @property
    def has_failed(self) -> bool:
        """Whether the call that is to fail was made."""
        return len(self.calls) >= self._number

    def as_storage(self) -> Storage:
        """Itself, for what asks for a storage."""
        return cast(Storage, self)


class StorageThatRepeats:
    """Does every call twice and gives the second answer: as when the first one is lost and the library asks again."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            method(*arguments, **options)
            return method(*arguments, **options)

        return call

    def as_storage(self) -> Storage:
        """Itself, for what asks for a storage."""
        return cast(Storage, self)
