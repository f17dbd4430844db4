"""The sessions of a pool: allocated at first use, freed after their cooldown, warmed ahead of demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local.session_pool import errors
from local.session_pool.files import SessionFiles
from local.session_pool.kernel import Kernel, Outcome
from local.session_pool.wire import ExecutionRecord, ExecutionRequest

DATA_PATH = "/mnt/data"
RECORDS_KEPT = 50
WARMING_PAUSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass
class Container:
    """What a session lives in: a kernel and its directories.

    Attributes:
        guid: names it in replies.
        root: the directory of all it has.
        kernel: its present kernel.
    """

    guid: str
    root: Path
    kernel: Kernel

    @property
    def data(self) -> Path:
        """The directory behind /mnt/data."""
        return self.root / "data"


@dataclass
class Session:
    """A container that belongs to an identifier.

    Attributes:
        identifier: what callers name it by.
        created_at, accessed_at: seconds since the epoch.
        turn: calls that need the kernel wait for it.
        records: the last executions, by id.
    """

    identifier: str
    created_at: float
    accessed_at: float
    container: Container | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    records: OrderedDict[str, ExecutionRecord] = field(default_factory=OrderedDict)
    running: int = 0

    @property
    def files(self) -> SessionFiles:
        """The session's files; refused while it has no container."""
        if self.container is None:
            raise errors.no_session()
        return SessionFiles(self.container.data)


class SessionPool:
    """All sessions of one pool.

    Args:
        kernel_python: an interpreter with ipykernel.
        max_sessions: at most so many at once.
        cooldown_seconds: a session not called for so long is freed.
        prewarmed: so many containers are kept ready.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        kernel_python: str,
        *,
        max_sessions: int = 100,
        cooldown_seconds: float = 300,
        prewarmed: int = 2,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._python = kernel_python
        self._max_sessions = max_sessions
        self._cooldown_seconds = cooldown_seconds
        self._prewarmed = prewarmed
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._ready: list[Container] = []
        self._wanted = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._root = Path(tempfile.mkdtemp(prefix="sp-"))

    async def __aenter__(self) -> SessionPool:
        self._wanted.set()
        self._background = [asyncio.create_task(self._keep_warm()), asyncio.create_task(self._sweep())]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        left = [session.container for session in self._sessions.values() if session.container]
        self._sessions.clear()
        await asyncio.gather(*(self._discard(container) for container in [*left, *self._ready]))
        shutil.rmtree(self._root, ignore_errors=True)

    async def enter(self, identifier: str) -> tuple[Session, bool]:
        """The session of an identifier, and whether this call allocated it.

        Raises:
            Refusal: the pool is full.
        """
        await self.free_expired()
        session = self._sessions.get(identifier)
        if session is None:
            if len(self._sessions) >= self._max_sessions:
                raise errors.pool_full(len(self._sessions), self._max_sessions)
            session = Session(identifier, self._clock(), self._clock())
            self._sessions[identifier] = session
        session.accessed_at = self._clock()
        async with session.turn if session.container is None else contextlib.nullcontext():
            if session.container is not None:
                return session, False
            try:
                session.container = self._ready.pop() if self._ready else await self._new_container()
            except BaseException:
                if self._has(session):
                    self._sessions.pop(identifier)
                raise
            self._wanted.set()
            if not self._has(session):
                # Deleted, or given up by the call before, while this one waited.
                await self._discard(session.container)
                raise errors.no_session()
            return session, True

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
        if session.container:
            # Ends what it runs; the turn is then free when nobody starts another kernel in it.
            await session.container.kernel.stop()
            async with session.turn:
                await self._discard(session.container)

    async def execute(self, session: Session, request: ExecutionRequest, execution_id: str) -> ExecutionRecord:
        """Runs code in a session, after what was asked of it before."""
        session.running += 1
        try:
            async with session.turn:
                outcome = await self._run(session, request)
        finally:
            session.running -= 1
            session.accessed_at = self._clock()
        record = ExecutionRecord(execution_id, session.identifier, outcome)
        session.records[execution_id] = record
        while len(session.records) > RECORDS_KEPT:
            session.records.popitem(last=False)
        return record

    async def free_expired(self) -> None:
        """Frees the sessions whose cooldown has passed."""
        for session in [session for session in self._sessions.values() if self._expired(session)]:
            if self._sessions.pop(session.identifier, None) and session.container:
                await self._discard(session.container)

    async def _run(self, session: Session, request: ExecutionRequest) -> Outcome:
        container = session.container
        if container is None or not self._has(session):
            raise errors.no_session()
        if not container.kernel.alive:
            await self._restart_kernel(container)
        # Without a sandbox there is no /mnt/data: the text of the path is replaced, both ways.
        code = request.code.replace(DATA_PATH, str(container.data))
        outcome = await container.kernel.execute(
            code,
            timeout_seconds=request.timeout_seconds,
            stream_length=request.stream_length,
            told=request.told_timeout,
        )
        if outcome.kernel_lost and self._has(session):
            await self._restart_kernel(container)
        real = str(container.data)
        return replace(
            outcome,
            stdout=outcome.stdout.replace(real, DATA_PATH),
            stderr=outcome.stderr.replace(real, DATA_PATH),
            result=_renamed(outcome.result, real),
        )

    def _has(self, session: Session) -> bool:
        return self._sessions.get(session.identifier) is session

    def _expired(self, session: Session) -> bool:
        return session.container is not None and not session.running and self._clock() >= self.expires_at(session)

    async def _new_container(self) -> Container:
        root = self._root / uuid.uuid4().hex[:8]
        for name in ("data", "home"):
            (root / name).mkdir(parents=True)
        try:
            kernel = await Kernel.start(self._python, root / "home", _sockets(root))
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        return Container(str(uuid.uuid4()), root, kernel)

    async def _restart_kernel(self, container: Container) -> None:
        await container.kernel.stop()
        container.kernel = await Kernel.start(self._python, container.root / "home", _sockets(container.root))

    async def _discard(self, container: Container) -> None:
        await container.kernel.stop()
        await asyncio.to_thread(shutil.rmtree, container.root, ignore_errors=True)

    async def _keep_warm(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._ready) < self._prewarmed:
                try:
                    self._ready.append(await self._new_container())
                except (OSError, RuntimeError) as error:
                    _log.error("A kernel could not be started: %s", error)
                    await asyncio.sleep(WARMING_PAUSE_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(self._cooldown_seconds, 5.0))
            await self.free_expired()


def _sockets(root: Path) -> Path:
    # A Unix socket's path may have 108 bytes.
    path = root / uuid.uuid4().hex[:6]
    path.mkdir()
    return path


def _renamed(result: Any, real: str) -> Any:
    text = json.dumps(result)
    return json.loads(text.replace(real, DATA_PATH)) if real in text else result
