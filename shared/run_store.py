"""Where runs are kept: records, files, replies, keys and leases as blobs, and the queue that starts work on them.

A run exists once its record does, and that is written last. Methods that take a run's id know no other forms of it
than `uuid4().hex`. All of them raise StorageError where the storage does not do its part.
"""

from __future__ import annotations

import base64
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shared import run_names as names
from shared.errors import (
    InvalidRequest,
    RunChanged,
    RunNotFound,
    RunUnreadable,
    StorageError,
    StorageLimitExceeded,
    StorageRefused,
)
from shared.run_keys import IdempotencyKey, claimed, run_id_of
from shared.run_lease import LEASE_SECONDS, Lease
from shared.run_retention import delete_ended_before
from shared.runs import QUEUED, Run, is_run_id

if TYPE_CHECKING:
    from shared.deadline import Deadline
    from shared.settings import Settings
    from shared.storage import Storage

__all__ = ["IdempotencyKey", "RunStore", "Stored", "process_store"]

RECORD_BYTES_MAX, FILE_BYTES_MAX, REPLY_BYTES_MAX = 32_000_000, 70_000_000, 256_000_000
# A change fails when another one was faster, so that as many may meet as there are attempts.
CHANGE_ATTEMPTS = 20
_READERS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """A run as it was read or written.

    Attributes:
        run: the run.
        etag: of that version of its record.
    """

    run: Run
    etag: str


class RunStore:
    """Runs in a storage account.

    Args:
        storage: the account.
        lease_seconds: how long a lease lasts unless it is renewed, 15 to 60.
        renew_every_seconds: how often a lease is renewed; None for three times as it lasts.
        clock: seconds, monotonic, for leases.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        lease_seconds: int = LEASE_SECONDS,
        renew_every_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._lease_seconds = lease_seconds
        self._renew_every_seconds = renew_every_seconds
        self._clock = clock
        self._secret = b""

    def create(self, run: Run, files: Mapping[str, bytes], key: IdempotencyKey | None) -> tuple[Run, bool]:
        """Keeps a new run; `enqueue` then starts it.

        Whatever a call that failed has left, the next one with the same key makes a whole run of it.

        Args:
            run: to be kept. Where the key has been seen before, its id and time are those of the first post.
            files: contents of the files that the run names.
            key: None where repetitions are not known.

        Returns:
            The run, and whether this call has certainly made it: with a key, another one may have.

        Raises:
            InvalidRequest: the key was used for something else, with status 422.
        """
        data = [files[name] for name in run.files]
        if key is not None:
            run, claimed_now = claimed(self._storage, run, key)
            found = None if claimed_now else self.load(run.run_id)
            if found is not None:
                return self._without_enqueue_problem(found), False
        self._storage.put(names.list_entry(run), b"")
        for position, content in enumerate(data):
            self._storage.put(names.file(run.run_id, position), content)
        if self._storage.create(names.record(run.run_id), _record(run)) is not None:
            return run, True
        return self._existing(run.run_id).run, False

    def enqueue(self, run_id: str, delay_seconds: int = 0) -> None:
        """Has a worker called for the run; more than once does no harm.

        Where that fails, the record of a waiting run says so, because perhaps nothing will ever start it.

        Args:
            run_id: of the run, all that the message holds.
            delay_seconds: how long no worker gets it.
        """
        try:
            self._storage.send(run_id, delay_seconds)
        except StorageError as error:
            problem = _not_queued(error)
            with suppress(StorageError, RunNotFound, RunChanged):
                self.change(run_id, lambda run: replace(run, problem=problem) if run.status == QUEUED else run)
            raise

    def load(self, run_id: str) -> Stored | None:
        """A run; None where there is none.

        Raises:
            RunUnreadable: what is there is no record of a run, or too large to be one.
        """
        if not is_run_id(run_id):
            return None
        try:
            blob = self._storage.read(names.record(run_id), RECORD_BYTES_MAX)
            return Stored(Run.from_json(blob.data), blob.etag) if blob is not None else None
        except (ValueError, StorageLimitExceeded) as error:
            raise RunUnreadable(f"A run's record cannot be read ({type(error).__name__}).") from error

    def made_by(self, owner: str, key: str) -> Stored | None:
        """The run that an owner's idempotency key has made; None where it has made none."""
        return self.load(run_id_of(self._storage, names.claim(owner, key)))

    def save(self, stored: Stored, run: Run) -> Stored:
        """Writes a run's record.

        Args:
            stored: as it was read or written last.
            run: as it is now.

        Raises:
            RunChanged: somebody else has changed it since, or it was deleted.
        """
        name, data = names.record(run.run_id), _record(run)
        etag = self._storage.replace(name, data, stored.etag)
        if etag is not None:
            return Stored(run, etag)
        blob = self._storage.read(name, RECORD_BYTES_MAX)
        # What is there is from this very call: its first request has written it, and the answer was lost.
        if blob is not None and blob.data == data:
            return Stored(run, blob.etag)
        raise RunChanged

    def change(self, run_id: str, f: Callable[[Run], Run]) -> Run:
        """Changes a run, whoever else changes it at the same time.

        Args:
            run_id: of the run.
            f: gives the run as it is to be; called again with a newer one if that has changed meanwhile. Nothing is
                written where it gives back what it got.

        Raises:
            RunNotFound: there is none.
            RunChanged: others were faster each time.
        """
        for _ in range(CHANGE_ATTEMPTS):
            stored = self._existing(run_id)
            run = f(stored.run)
            if run == stored.run:
                return run
            with suppress(RunChanged):
                return self.save(stored, run).run
        raise RunChanged

    def lease(self, run_id: str) -> Lease:
        """A lease on the run, as a context: whoever has it works on the run. Entering raises RunBusy if it is taken."""
        return Lease(
            self._storage,
            names.lease(run_id),
            seconds=self._lease_seconds,
            every_seconds=self._renew_every_seconds,
            clock=self._clock,
        )

    def files(self, run_id: str) -> dict[str, bytes]:
        """The files that came with the task, by name.

        Raises:
            RunNotFound: there is no such run.
        """
        found: dict[str, bytes] = {}
        for position, name in enumerate(self._existing(run_id).run.files):
            blob = self._storage.read(names.file(run_id, position), FILE_BYTES_MAX)
            if blob is None:
                raise RunNotFound("The files of the run are gone.")
            found[name] = blob.data
        return found

    def save_reply(self, run_id: str, data: bytes) -> bool:
        """Keeps what the chat gave; False where another attempt's reply is there, and stays."""
        if len(data) > REPLY_BYTES_MAX:
            raise StorageLimitExceeded(f"The reply has {len(data)} bytes; {REPLY_BYTES_MAX} are allowed.")
        return self._storage.create(names.reply(run_id), data) is not None

    def reply(self, run_id: str) -> bytes | None:
        """What the chat gave; None where there is nothing."""
        blob = self._storage.read(names.reply(run_id), REPLY_BYTES_MAX) if is_run_id(run_id) else None
        return blob.data if blob is not None else None

    def recent(self, owner: str, limit: int, marker: str | None = None) -> tuple[list[Run], str | None]:
        """An owner's runs, newest first.

        Args:
            owner: `owner_of` the caller.
            limit: most of them; there may be fewer although more follow.
            marker: what came with the runs before; None for the first.

        Returns:
            The runs, without those whose record cannot be read, and the marker for those that follow; None where none
            do.

        Raises:
            InvalidRequest: the marker is not one that came with runs.
        """
        try:
            page = self._storage.page(names.list_prefix(owner), limit, _decoded(marker) if marker else None)
        except StorageRefused:
            if marker:
                raise _bad_marker() from None
            raise
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(self._listed, (names.run_id_of(entry.name) for entry in page.entries))
            # An entry without its run is what a post that failed has left.
            runs = [stored.run for stored in found if stored is not None]
        return runs, base64.urlsafe_b64encode(page.marker.encode()).decode("ascii") if page.marker else None

    def delete_ended_before(self, epoch: float, deadline: Deadline) -> int:
        """Deletes runs that had ended, with all that belongs to them, by that time; returns how many.

        Args:
            epoch: seconds since the epoch.
            deadline: what is not deleted by then is left for the next call.
        """
        return delete_ended_before(self._storage, self.load, epoch, deadline)

    def secret(self) -> bytes:
        """The secret of this store, the same for all its processes: made once, then read once in a process."""
        if not self._secret:
            new = secrets.token_bytes(32)
            blob = self._storage.read(names.SECRET, names.CLAIM_BYTES_MAX)
            if blob is None and self._storage.create(names.SECRET, new) is None:
                blob = self._storage.read(names.SECRET, names.CLAIM_BYTES_MAX)
            self._secret = blob.data if blob is not None else new
        return self._secret

    def _listed(self, run_id: str) -> Stored | None:
        try:
            return self.load(run_id)
        except RunUnreadable as error:
            _log.warning("Run %s is left out of a list: %s", run_id, error.detail)
            return None

    def _without_enqueue_problem(self, stored: Stored) -> Run:
        # Whoever posts again enqueues again.
        if stored.run.status != QUEUED or stored.run.problem is None:
            return stored.run
        return self.change(stored.run.run_id, lambda run: replace(run, problem=None) if run.status == QUEUED else run)

    def _existing(self, run_id: str) -> Stored:
        stored = self.load(run_id)
        if stored is None:
            raise RunNotFound
        return stored


@lru_cache(maxsize=4)
def process_store(settings: Settings) -> RunStore:
    """The process's store.

    Raises:
        SettingError: the settings of the storage account are missing or malformed.
    """
    from shared.storage import Storage

    return RunStore(Storage.from_settings(settings))


def _not_queued(error: StorageError) -> dict[str, Any]:
    """Problem details: what is known of a run that waits and that perhaps nothing will start."""
    return {
        "type": "urn:problem:run_not_queued",
        "title": "The run could not be queued",
        "status": error.status,
        "code": "run_not_queued",
        "detail": error.detail,
        "remedy": "Send the request again, with the same idempotency key if it had one.",
    }


def _record(run: Run) -> bytes:
    # Two who write the same are told apart by this: only one of them may go on.
    data = b'{"write":"%s",' % uuid.uuid4().hex.encode("ascii") + run.to_json()[1:]
    if len(data) > RECORD_BYTES_MAX:
        raise StorageLimitExceeded(f"The run's record has {len(data)} bytes; {RECORD_BYTES_MAX} are allowed.")
    return data


def _decoded(marker: str) -> str:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _bad_marker() from None


def _bad_marker() -> InvalidRequest:
    return InvalidRequest(
        "continuation_invalid",
        "The continuation is not one that came with a list. Leave it out to begin with the newest.",
        field="continuation",
    )
