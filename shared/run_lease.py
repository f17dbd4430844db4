"""Who works on a run: a lease that is renewed while the work goes on, and noticed when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import RunBusy, ServiceError

if TYPE_CHECKING:
    from shared.storage import Storage

# Of a lease; Azure allows 15 to 60. After a crash the run waits for so long.
LEASE_SECONDS = 60
RENEWALS_PER_LEASE = 3

_log = logging.getLogger(__name__)


class Lease:
    """A lease on a run, as a context: taken, renewed in a thread of its own, and given back at the end.

    Args:
        storage: where the run is.
        name: of the blob that the lease is on; made if it does not exist.
        seconds: how long it lasts unless it is renewed.
        every_seconds: how often it is renewed; None for three times as it lasts.
        clock: seconds, monotonic.

    Attributes:
        lost: set once another worker may have the run.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        seconds: int = LEASE_SECONDS,
        every_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = threading.Event()
        self._storage = storage
        self._name = name
        self._seconds = seconds
        self._every_seconds = every_seconds if every_seconds is not None else seconds / RENEWALS_PER_LEASE
        self._clock = clock
        self._over = threading.Event()
        self._id = ""
        self._lasts_until = 0.0
        self._thread = threading.Thread(target=self._keep, name="run-lease", daemon=True)

    def __enter__(self) -> Lease:
        """Takes the lease.

        Raises:
            RunBusy: another worker has it.
            StorageError: the storage did not do its part.
        """
        asked = self._clock()
        # Writing fails at once where there is a lease, so it also tells that the run is busy.
        lease_id = self._storage.put(self._name, b"") and self._storage.acquire(self._name, self._seconds)
        if not lease_id:
            raise RunBusy
        self._id, self._lasts_until = lease_id, asked + self._seconds
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(timeout=self._seconds)
        # Where it cannot be given back it ends by itself; the work was done all the same.
        with suppress(ServiceError):
            self._storage.release(self._name, self._id)

    def _keep(self) -> None:
        wait = self._every_seconds
        while not self._over.wait(wait):
            asked = self._clock()
            try:
                if not self._storage.renew(self._name, self._id):
                    break
            except ServiceError as error:
                _log.warning("The lease %s was not renewed: %s", self._name, error.code)
                if self._clock() >= self._lasts_until:
                    break
                wait = min(self._every_seconds / 4, self._lasts_until - self._clock())
            else:
                self._lasts_until, wait = asked + self._seconds, self._every_seconds
        else:
            return
        self.lost.set()
