"""Storage accounts at an address of a test's own, such as a scripted server's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shared.settings import Settings
from shared.storage import Storage
from tests.scripted_server import Answer

# The port is privileged: nothing listens there.
NOBODY = "http://127.0.0.1:1"
SIGNATURE = "c2VjcmV0LXNpZ25hdHVyZQ"


@contextmanager
def storage_at(url: str, **options: Any) -> Iterator[Storage]:
    """A storage account at an address, with a signature instead of a key."""
    text = f"BlobEndpoint={url}/account;QueueEndpoint={url}/account;SharedAccessSignature=sv=2025-01-05&sig={SIGNATURE}"
    storage = Storage.from_settings(Settings(storage_connection=text), **options)
    yield storage
    storage.close()


def answering(answer: Answer) -> Callable[..., Answer]:
    """A script of one answer to all."""
    return lambda number, request: answer
