"""Several session pools used as one: each session has its place in one of them, and its identifier alone says in which.

By rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996): every pool gets a
weight for the identifier, and the heaviest has the session. Nothing is stored, all instances of the app agree, and
where a pool is added or taken away no other session moves than those that it gets or had.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from shared.deadline import Deadline
from shared.errors import DeadlineReached, PoolFull, PoolUnavailable, PoolUnreachable, SettingError
from shared.identity import POOL_SCOPE, BearerTokens, process_tokens
from shared.session_pool import SessionPool, checked_endpoint
from shared.session_wire import DEFAULT_API_VERSION

# What a first call takes at most in a pool that does not answer, while there are others to ask.
TRY_SECONDS = 30.0
# Refusals by which nothing has come into a session.
NO_ROOM = (PoolFull, PoolUnreachable, PoolUnavailable)

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


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

    def __iter__(self) -> Iterator[SessionPool]:
        return iter(self._pools.values())

    def of(self, identifier: str) -> SessionPool:
        """The pool that has the session of this identifier, or will have it."""
        return self._pools[place_of(identifier, self._pools)]

    def close(self) -> None:
        """Closes the connections; another call opens new ones."""
        for pool in self._pools.values():
            pool.close()


class SessionPlace:
    """Where a session is: its `session_id`, and the pool that this leads to.

    A new session has its place once a first call has found room for it: where its pool has none, another `session_id`
    leads to another pool. So the `session_id` alone is enough to find it again.

    Args:
        pools: to choose from.
        identify: gives the identifier for a `session_id`.
        session_id: of a session that is known; None for a new one.

    Attributes:
        session_id: may be set, and the session is a known one then.
    """

    def __init__(self, pools: SessionPools, identify: Callable[[str], str], session_id: str | None) -> None:
        self._pools = pools
        self._identify = identify
        self.session_id = session_id or uuid.uuid4().hex
        # While it is still that one, nobody has been told it and nothing is in the session.
        self._minted_id = "" if session_id else self.session_id

    @property
    def identifier(self) -> str:
        """What the pool calls the session."""
        return self._identify(self.session_id)

    @property
    def pool(self) -> SessionPool:
        """The session's pool."""
        return self._pools.of(self.identifier)

    def call(self, call: Callable[[Deadline], _Answer], deadline: Deadline, *, repeatable: bool = True) -> _Answer:
        """What a call gives that may be the session's first.

        The first call asks one pool after the other, each once and without a pause, and only the last one as often as
        any call.

        Args:
            call: asks `pool` for `identifier`, within a deadline.
            deadline: bounds all pools together.
            repeatable: whether a first call may be given up where a pool does not answer in its share of the time.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolError: of the last pool; or of one before it that has not only no room.
        """
        is_new = self.session_id == self._minted_id
        self._minted_id = ""
        if not is_new:
            return call(deadline)
        try:
            return self._find_room(call, deadline, repeatable)
        except NO_ROOM:
            # The next call is the first again.
            self._minted_id = self.session_id
            raise

    def _find_room(self, call: Callable[[Deadline], _Answer], deadline: Deadline, repeatable: bool) -> _Answer:
        untried = set(self._pools) - {self.pool}
        while untried:
            once = replace(deadline, retries=False)
            share = min(TRY_SECONDS, once.remaining() / (len(untried) + 1))
            try:
                return call(once.within(share) if repeatable else once)
            except NO_ROOM as error:
                code = error.code
            except DeadlineReached:
                # It may have been the share only.
                deadline.check()
                if not repeatable:
                    raise
                code = PoolUnreachable.code
            _log.warning("A new session goes to another pool: %s", code)
            while self.pool not in untried:
                self.session_id = uuid.uuid4().hex
            untried.discard(self.pool)
        return call(deadline)


@lru_cache(maxsize=16)
def process_pools(endpoints: str, api_version: str, client_id: str) -> SessionPools:
    """The process's clients of pools, with their connections, for the process's identity.

    Raises:
        SettingError: the endpoints or the version are not of their form.
    """
    return SessionPools(endpoints, tokens=process_tokens(POOL_SCOPE, client_id), api_version=api_version)
