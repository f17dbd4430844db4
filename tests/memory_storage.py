"""A storage account in this process's memory, for tests of what stands on it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared.errors import StorageError
from shared.storage import Blob, Entry, Page, Storage


class MemoryStorage(Storage):
    """Blobs and a queue that behave as in Azure, one operation after the other.

    Attributes:
        blobs: by name, the contents and the number of the version.
        queue: the messages that were sent.
        operations: what was asked, and of which blob.
        failing: operations that fail, by name, with what they raise.
        now: when blobs are written, in seconds since the epoch.
        before: called with an operation and its blob's name: a test's way to let something happen meanwhile.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytes, int]] = {}
        self.now = 0.0
        self._times: dict[str, float] = {}
        self._leases: dict[str, str] = {}
        self.queue: list[str] = []
        self.operations: list[tuple[str, str]] = []
        self.failing: dict[str, StorageError] = {}
        self.before: Callable[[str, str], None] = lambda operation, name: None
        self._versions = 0
        self._lock = threading.RLock()

    def read(self, name: str, most_bytes: int) -> Blob | None:
        self._begin("read", name)
        with self._lock:
            found = self.blobs.get(name)
        return Blob(found[0], str(found[1])) if found else None

    def create(self, name: str, data: bytes) -> str | None:
        self._begin("create", name)
        with self._lock:
            return None if name in self.blobs else self._keep(name, data)

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        self._begin("replace", name)
        with self._lock:
            is_current = name in self.blobs and str(self.blobs[name][1]) == etag
            return self._keep(name, data) if is_current else None

    def put(self, name: str, data: bytes) -> str | None:
        self._begin("put", name)
        with self._lock:
            return None if name in self._leases else self._keep(name, data)

    def delete(self, name: str) -> None:
        self._begin("delete", name)
        with self._lock:
            self.blobs.pop(name, None)

    def page(self, prefix: str, limit: int, marker: str | None = None) -> Page:
        self._begin("page", prefix)
        with self._lock:
            names = sorted(name for name in self.blobs if name.startswith(prefix) and name >= (marker or ""))
        entries = tuple(Entry(name, self._times[name]) for name in names[:limit])
        return Page(entries, names[limit] if len(names) > limit else None)

    def acquire(self, name: str, seconds: int) -> str | None:
        self._begin("acquire", name)
        with self._lock:
            return None if name in self._leases else self._leases.setdefault(name, f"lease of {name}")

    def renew(self, name: str, lease_id: str) -> bool:
        self._begin("renew", name)
        return self._leases.get(name) == lease_id

    def release(self, name: str, lease_id: str) -> None:
        self._begin("release", name)
        with self._lock:
            self._leases.pop(name, None)

    def send(self, text: str, delay_seconds: int = 0) -> None:
        self._begin("send", text)
        self.queue.append(text)

    def _begin(self, operation: str, name: str) -> None:
        with self._lock:
            self.operations.append((operation, name))
        self.before(operation, name)
        if operation in self.failing:
            raise self.failing[operation]

    def _keep(self, name: str, data: bytes) -> str:
        self._versions += 1
        self._times[name] = self.now
        self.blobs[name] = (data, self._versions)
        return str(self._versions)
