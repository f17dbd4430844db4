"""Deletes runs that ended some time ago, and what posts that failed have left.

By the blobs' own times, so that only what is old enough is read. A run's record goes first, so that nobody meets half a
run, and what has no record is found too: a deletion that is cut off is finished by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING

from shared import run_names as names
from shared.errors import RunUnreadable
from shared.run_keys import run_id_of

if TYPE_CHECKING:
    from shared.run_store import Stored
    from shared.storage import Entry, Storage

_PAGE = 1000
_log = logging.getLogger(__name__)


def delete_ended_before(storage: Storage, load: Callable[[str], Stored | None], epoch: float, limit: int) -> int:
    """Deletes runs that had ended by a time, with all that belongs to them.

    A run whose deadline has passed by then is over, whatever its record says, and so is one whose record cannot be
    read: nobody can go on with it.

    Args:
        storage: where they are.
        load: gives a run; None where there is none.
        epoch: seconds since the epoch.
        limit: most runs, and most entries and keys without a run.

    Returns:
        The number of runs deleted.
    """
    deleted = 0
    for run_id, blobs in groupby(_entries(storage, names.RUNS), lambda entry: names.run_id_of(entry.name)):
        if deleted >= limit:
            break
        group = list(blobs)
        if not run_id or max(entry.modified_at for entry in group) >= epoch:
            continue
        found = _found(load, run_id)
        if isinstance(found, RunUnreadable):
            # The entry that lists it is found among the unused ones.
            _log.warning("Run %s is deleted although it may not have ended: %s", run_id, found.detail)
        elif found is not None:
            if not found.run.is_ended and found.run.expires_at >= epoch:
                continue
            storage.delete(names.index(found.run))
        deleted += found is not None
        for name in sorted((entry.name for entry in group), key=lambda name: name != names.record(run_id)):
            storage.delete(name)
    _delete_unused(storage, load, _old(storage, names.OWNERS, epoch, limit))
    _delete_unused(storage, load, _old(storage, names.KEYS, epoch, limit))
    return deleted


def _found(load: Callable[[str], Stored | None], run_id: str) -> Stored | RunUnreadable | None:
    try:
        return load(run_id)
    except RunUnreadable as error:
        return error


def _entries(storage: Storage, prefix: str) -> Iterator[Entry]:
    page = storage.page(prefix, _PAGE)
    yield from page.entries
    while page.marker is not None:
        page = storage.page(prefix, _PAGE, page.marker)
        yield from page.entries


def _old(storage: Storage, prefix: str, epoch: float, limit: int) -> Iterator[str]:
    return islice((entry.name for entry in _entries(storage, prefix) if entry.modified_at < epoch), limit)


def _delete_unused(storage: Storage, load: Callable[[str], Stored | None], found: Iterator[str]) -> None:
    """Deletes entries of lists, and keys, that lead to no run."""
    for name in found:
        if _found(load, names.run_id_of(name) or run_id_of(storage, name)) is None:
            storage.delete(name)
