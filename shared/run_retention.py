"""Deletes runs that ended some time ago, and what posts that failed have left.

By the blobs' own times, so that only what is old enough is read. A run's record goes first, so that nobody meets half a
run, and what has no record is found too: a deletion that is cut off, by its deadline or otherwise, is finished by the
next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from shared import run_names as names
from shared.errors import DeadlineReached, RunUnreadable
from shared.run_keys import run_id_of

if TYPE_CHECKING:
    from shared.deadline import Deadline
    from shared.run_store import Stored
    from shared.storage import Entry, Storage

_PAGE = 1000
_log = logging.getLogger(__name__)


def delete_ended_before(
    storage: Storage, load: Callable[[str], Stored | None], epoch: float, deadline: Deadline
) -> int:
    """Deletes runs that had ended by a time, with all that belongs to them.

    A run whose deadline has passed by then is over, whatever its record says, and so is one whose record cannot be
    read: nobody can go on with it.

    Args:
        storage: where they are.
        load: gives a run; None where there is none.
        epoch: seconds since the epoch.
        deadline: what is not deleted by then is left; a call to the storage that is under way comes to its end.

    Returns:
        The number of runs deleted.
    """
    sweep = _Sweep(storage, load, epoch, deadline)
    with suppress(DeadlineReached):
        sweep.delete_runs()
        sweep.delete_unused(names.OWNERS)
        sweep.delete_unused(names.KEYS)
    return sweep.deleted


@dataclass
class _Sweep:
    storage: Storage
    load: Callable[[str], Stored | None]
    epoch: float
    deadline: Deadline
    deleted: int = 0

    def delete_runs(self) -> None:
        for run_id, blobs in groupby(self._entries(names.RUNS), lambda entry: names.run_id_of(entry.name)):
            group = list(blobs)
            if run_id and all(entry.modified_at < self.epoch for entry in group):
                self._delete_run(run_id, [entry.name for entry in group])

    def delete_unused(self, prefix: str) -> None:
        """Deletes entries of lists, or keys, that lead to no run."""
        for entry in self._entries(prefix):
            if entry.modified_at < self.epoch:
                run_id = names.run_id_of(entry.name) or run_id_of(self.storage, entry.name)
                if self._found(run_id) is None:
                    self._delete(entry.name)

    def _delete_run(self, run_id: str, blobs: list[str]) -> None:
        found = self._found(run_id)
        if isinstance(found, RunUnreadable):
            # The entry that lists it is found among the unused ones.
            _log.warning("Run %s is deleted although it may not have ended: %s", run_id, found.detail)
        elif found is not None:
            if not found.run.is_ended and found.run.expires_at >= self.epoch:
                return
            self._delete(names.list_entry(found.run))
        for name in sorted(blobs, key=lambda name: name != names.record(run_id)):
            self._delete(name)
        self.deleted += found is not None

    def _delete(self, name: str) -> None:
        self.deadline.check()
        self.storage.delete(name)

    def _found(self, run_id: str) -> Stored | RunUnreadable | None:
        try:
            return self.load(run_id)
        except RunUnreadable as error:
            return error

    def _entries(self, prefix: str) -> Iterator[Entry]:
        page = self.storage.page(prefix, _PAGE)
        while True:
            for entry in page.entries:
                self.deadline.check()
                yield entry
            if page.marker is None:
                return
            page = self.storage.page(prefix, _PAGE, page.marker)
