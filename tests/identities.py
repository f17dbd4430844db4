"""The local identity endpoint as this process's managed identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.identity import Identity, create_app
from shared import identity
from shared.session_pools import process_pools
from tests.served import served


@contextmanager
def local_identity() -> Iterator[None]:
    """The process's credential asks a local endpoint meanwhile."""
    caches = (identity.process_tokens, identity.process_credential, process_pools)
    with served(create_app(Identity("header"))) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"{url}/msi/token")
        patch.setenv("IDENTITY_HEADER", "header")
        for cache in caches:
            cache.cache_clear()
        yield
        for cache in caches:
            cache.cache_clear()
