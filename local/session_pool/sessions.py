"""The sessions of a pool: allocated at first use, freed after their cooldown, warmed ahead of demand."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.session_pool import errors
from local.session_pool.container import Container, ContainerLost
from local.session_pool.execution import ExecutionRecord, ExecutionRequest
from local.session_pool.kinds import Kind
from local.session_pool.launch import Isolation
from local.session_pool.outcome import ABORTED, Outcome
from local.session_pool.session import Place, Session

# Executions of one session that run or wait; more would wait longer than any caller does.
RUNNING_MAX = 100
RECORDS_KEPT = 2 * RUNNING_MAX
RECORDS_BYTES_MAX = 64 << 20
WARMING_PAUSE_SECONDS = 5.0
LOST_CODE = -1

_log = logging.getLogger(__name__)


class SessionPool:
    """All sessions of one pool.

    Args:
        kind: what runs their code.
        isolation: how their containers are made.
        max_sessions: at most so many at once.
        full_status: what a full pool answers, 429 or 404.
        cooldown_seconds: a session not called for so long is freed.
        prewarmed: so many containers are kept ready.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        kind: Kind,
        isolation: Isolation,
        *,
        max_sessions: int = 100,
        full_status: int = 429,
        cooldown_seconds: float = 300,
        prewarmed: int = 2,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind = kind
        self._isolation = isolation
        self._max_sessions = max_sessions
        self._full_status = full_status
        self._cooldown_seconds = cooldown_seconds
        self._prewarmed = prewarmed
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._ready: list[Place] = []
        self._wanted = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._root = Path(tempfile.mkdtemp(prefix="sp-"))

    async def __aenter__(self) -> SessionPool:
        self._wanted.set()
        self._loops = [asyncio.create_task(self._keep_warm()), asyncio.create_task(self._sweep())]
        return self

    async def __aexit__(self, *error: object) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for identifier in list(self._sessions):
            self.lose(identifier)
        for place in self._ready:
            self._later(self._discard(place))
        # Whatever runs in the background ends with its container.
        await asyncio.gather(*self._background, return_exceptions=True)
        shutil.rmtree(self._root, ignore_errors=True)

    async def enter(self, identifier: str) -> tuple[Session, bool]:
        """The session of an identifier, and whether this call allocated it.

        Raises:
            Refusal: the pool is full, or the machine gives no container.
        """
        self._free_expired()
        session = self._sessions.get(identifier)
        if session is None:
            if len(self._sessions) >= self._max_sessions:
                raise errors.pool_full(len(self._sessions), self._max_sessions, self._full_status)
            session = Session(identifier, self._clock(), self._clock())
            self._sessions[identifier] = session
        session.accessed_at = self._clock()
        if session.place is not None and session.place.container.alive:
            return session, False
        async with session.turn:
            return session, await self._allocate(session)

    def find(self, identifier: str) -> Session:
        """A session that exists; looking resets its cooldown.

        Raises:
            Refusal: there is none.
        """
        session = self._sessions.get(identifier)
        if session is None or self._expired(session):
            raise errors.no_session()
        session.accessed_at = self._clock()
        return session

    def listing(self) -> list[Session]:
        """All sessions, the oldest first; looking resets no cooldown."""
        self._free_expired()
        return list(self._sessions.values())

    def expires_at(self, session: Session) -> float:
        """When a session is freed unless it is called again, in seconds since the epoch."""
        return session.accessed_at + self._cooldown_seconds

    async def delete(self, identifier: str) -> None:
        """Frees a session.

        Raises:
            Refusal: there is none.
        """
        session = self.find(identifier)
        self._sessions.pop(identifier, None)
        if session.place:
            # Whatever runs or is about to ends with it; the turn is then free when nobody starts anything more.
            await session.place.container.stop()
            async with session.turn:
                await self._discard(session.place)

    def lose(self, identifier: str) -> None:
        """Frees a session without a word, as a failing machine would."""
        session = self._sessions.pop(identifier, None)
        if session is not None and session.place:
            self._later(self._discard(session.place))

    async def execute(self, session: Session, request: ExecutionRequest, execution_id: str) -> ExecutionRecord:
        """Runs code in a session, after what was asked of it before.

        Raises:
            Refusal: too much is waiting already, or the session is gone.
        """
        record = self._recorded(session, request, execution_id)
        await self._carry_out(session, record, request)
        return record

    async def begin(self, session: Session, request: ExecutionRequest, execution_id: str) -> ExecutionRecord:
        """Runs code in the background; the record has no outcome until it has ended.

        Raises:
            Refusal: too much is waiting already.
        """
        record = self._recorded(session, request, execution_id)
        self._later(self._unwatched(session, record, request))
        # It takes its place in the session's queue before any later call can.
        await asyncio.sleep(0)
        return record

    def _recorded(self, session: Session, request: ExecutionRequest, execution_id: str) -> ExecutionRecord:
        if session.running >= RUNNING_MAX:
            raise errors.session_busy()
        record = ExecutionRecord(execution_id, session.identifier, request.asynchronous)
        session.records[execution_id] = record
        _forget(session)
        return record

    async def _carry_out(self, session: Session, record: ExecutionRecord, request: ExecutionRequest) -> None:
        session.running += 1
        timeouts = session.timeouts
        try:
            async with session.turn:
                if session.timeouts > timeouts:
                    record.outcome = self._aborted()
                    return
                record.outcome = await self._run(session, request)
                session.timeouts += record.outcome.timed_out
        finally:
            _forget(session)
            session.running -= 1
            session.accessed_at = self._clock()

    async def _unwatched(self, session: Session, record: ExecutionRecord, request: ExecutionRequest) -> None:
        try:
            await self._carry_out(session, record, request)
        except errors.Refusal:
            # The session is gone, and with it the record that would have said so.
            record.outcome = self._aborted()

    def _aborted(self) -> Outcome:
        return Outcome(False, "", ABORTED, "", 0, exit_code=LOST_CODE if self.kind.takes_commands else None)

    async def _run(self, session: Session, request: ExecutionRequest) -> Outcome:
        place = session.place
        if place is None or not self._has(session):
            raise errors.no_session()
        try:
            outcome = await self._run_in(place, request)
            if outcome.kernel_lost and self._has(session) and place.container.alive:
                await self._revive(place)
        except (ContainerLost, OSError, RuntimeError) as error:
            _log.error("A session was lost: %s", error)
            outcome = self._aborted()
        streams = place.container.outward([outcome.stdout, outcome.stderr])
        return replace(outcome, stdout=streams[0], stderr=streams[1], result=place.container.outward(outcome.result))

    async def _run_in(self, place: Place, request: ExecutionRequest) -> Outcome:
        await self._revive(place)
        interpreter = await self.kind.start(place.container) if request.empty_kernel else place.interpreter
        try:
            return await interpreter.execute(
                place.container.inward(request.code),
                timeout_seconds=request.timeout_seconds,
                stream_length=request.stream_length,
                told=request.told_timeout,
            )
        finally:
            if interpreter is not place.interpreter:
                await interpreter.stop()

    async def _revive(self, place: Place) -> None:
        """Replaces an interpreter that has ended; one that code was to run apart from is none of the place's."""
        if not place.interpreter.alive:
            await place.interpreter.stop()
            place.interpreter = await self.kind.start(place.container)

    async def _allocate(self, session: Session) -> bool:
        if session.place is not None:
            if session.place.container.alive:
                return False
            self._later(self._discard(session.place))
            session.place = None
        try:
            session.place = self._ready.pop() if self._ready else await self._new_place()
        except BaseException as error:
            if self._has(session):
                self._sessions.pop(session.identifier)
            if isinstance(error, (ContainerLost, OSError, RuntimeError)):
                _log.error("A session could not be started: %s", error)
                raise errors.no_capacity() from error
            raise
        self._wanted.set()
        if not self._has(session):
            # Deleted, or given up by the call before, while this one waited.
            await self._discard(session.place)
            raise errors.no_session()
        return True

    def _free_expired(self) -> None:
        for session in [session for session in self._sessions.values() if self._expired(session)]:
            self.lose(session.identifier)

    def _has(self, session: Session) -> bool:
        return self._sessions.get(session.identifier) is session

    def _expired(self, session: Session) -> bool:
        return session.place is not None and not session.running and self._clock() >= self.expires_at(session)

    async def _new_place(self) -> Place:
        container = await Container.start(self._root, self._isolation)
        try:
            return Place(container, await self.kind.start(container))
        except BaseException:
            await container.stop()
            raise

    async def _discard(self, place: Place) -> None:
        await place.interpreter.stop()
        await place.container.stop()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _keep_warm(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._ready) < self._prewarmed:
                try:
                    self._ready.append(await self._new_place())
                except Exception as error:  # noqa: BLE001  # without warmed sessions every first call would be slow
                    _log.error("A session could not be warmed: %r", error)
                    await asyncio.sleep(WARMING_PAUSE_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(self._cooldown_seconds, 5.0))
            self._free_expired()


def _forget(session: Session) -> None:
    """Drops the oldest records that are too many or too much."""
    held = sum(record.outcome.size for record in session.records.values() if record.outcome)
    while len(session.records) > RECORDS_KEPT or (held > RECORDS_BYTES_MAX and len(session.records) > 1):
        _, oldest = session.records.popitem(last=False)
        held -= oldest.outcome.size if oldest.outcome else 0
