"""Several session pools used as one: each session has its place in one of them, and its identifier alone says in which.

By rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996): every pool gets a
weight for the identifier, and the heaviest has the session. Nothing is stored, all instances of the app agree, and
where a pool is added or taken away no other session moves than those that it gets or had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from shared.errors import SettingError
from shared.identity import POOL_SCOPE, BearerTokens, process_tokens
from shared.session_pool import SessionPool, checked_endpoint
from shared.session_wire import DEFAULT_API_VERSION


def endpoints_of(setting: str) -> tuple[str, ...]:
    """The endpoints that `POOL_MANAGEMENT_ENDPOINT` names, with commas between them.

    Raises:
        SettingError: there is none, one is not of its form, or one is there twice.
    """
    endpoints = tuple(checked_endpoint(entry) for entry in setting.split(","))
    if len({_name(endpoint) for endpoint in endpoints}) < len(endpoints):
        raise SettingError("POOL_MANAGEMENT_ENDPOINT", "POOL_MANAGEMENT_ENDPOINT names a session pool twice.")
    return endpoints


def place_of(identifier: str, endpoints: Iterable[str]) -> str:
    """The endpoint of the pool that has a session, whatever the order of the endpoints.

    Args:
        identifier: of the session.
        endpoints: as `endpoints_of` gives them.
    """

    def weight(endpoint: str) -> bytes:
        return hashlib.sha256(f"{identifier} {_name(endpoint)}".encode()).digest()

    return max(endpoints, key=weight)


def _name(endpoint: str) -> str:
    # Azure tells neither hosts nor resources apart by case: an endpoint that is written otherwise moves no session.
    return endpoint.lower()


class SessionPools:
    """One pool or several; safe to share between threads.

    Args:
        endpoints: as `POOL_MANAGEMENT_ENDPOINT` names them.
        tokens: bearer tokens, for all of them.
        api_version: 2024-10-02-preview or later.

    Raises:
        SettingError: the endpoints or the version are not of their form.
    """

    def __init__(self, endpoints: str, *, tokens: BearerTokens, api_version: str = DEFAULT_API_VERSION) -> None:
        self._pools = {
            endpoint: SessionPool(endpoint, tokens=tokens, api_version=api_version)
            for endpoint in endpoints_of(endpoints)
        }

    def __len__(self) -> int:
        return len(self._pools)

    def of(self, identifier: str) -> SessionPool:
        """The pool that has the session of this identifier, or will have it."""
        return self._pools[place_of(identifier, self._pools)]

    def close(self) -> None:
        """Closes the connections; another call opens new ones."""
        for pool in self._pools.values():
            pool.close()


@lru_cache(maxsize=16)
def process_pools(endpoints: str, api_version: str, client_id: str) -> SessionPools:
    """The process's clients of pools, with their connections, for the process's identity.

    Raises:
        SettingError: the endpoints or the version are not of their form.
    """
    return SessionPools(endpoints, tokens=process_tokens(POOL_SCOPE, client_id), api_version=api_version)
