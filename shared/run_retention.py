"""Deletes runs that ended some time ago, and what posts that failed have left.

By the blobs' own times, so that only what is old enough is read. A run's record goes first, so that nobody meets half a
run, and what has no record is found too: a deletion that is cut off is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING

from shared import run_names as names
from shared.run_keys import run_id_of

if TYPE_CHECKING:
    from shared.run_store import Stored
    from shared.storage import Entry, Storage

_PAGE = 1000


def delete_ended_before(storage: Storage, load: Callable[[str], Stored | None], epoch: float, limit: int) -> int:
    """Deletes runs that had ended by a time, with all that belongs to them.

    A run whose deadline has passed by then is over, whatever its record says.

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
        stored = load(run_id)
        if stored is not None and not stored.run.is_ended and stored.run.expires_at >= epoch:
            continue
        if stored is not None:
            storage.delete(names.index(stored.run))
            deleted += 1
        for name in sorted((entry.name for entry in group), key=lambda name: name != names.record(run_id)):
            storage.delete(name)
    _delete_unused(storage, load, _old(storage, names.OWNERS, epoch, limit))
    _delete_unused(storage, load, _old(storage, names.KEYS, epoch, limit))
    return deleted


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
        if load(names.run_id_of(name) or run_id_of(storage, name)) is None:
            storage.delete(name)
