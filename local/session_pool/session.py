"""One session as data: who it belongs to, where its code runs, and what it remembers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from local.session_pool import errors
from local.session_pool.container import Container
from local.session_pool.execution import ExecutionRecord
from local.session_pool.files import SessionFiles
from local.session_pool.outcome import Interpreter


@dataclass
class Place:
    """Where a session's code runs: its container, and the interpreter in it."""

    container: Container
    interpreter: Interpreter


@dataclass
class Session:
    """A place that belongs to an identifier.

    Attributes:
        identifier: what callers name it by.
        created_at, accessed_at: seconds since the epoch.
        place: None until it is allocated.
        turn: calls that need the interpreter wait for it.
        records: the last executions, by id: as many as fit into 64 MB, the last one in any case.
        running: how many executions run or wait.
        timeouts: how many have run into theirs; what waits behind one is aborted with it.
    """

    identifier: str
    created_at: float
    accessed_at: float
    place: Place | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    records: OrderedDict[str, ExecutionRecord] = field(default_factory=OrderedDict)
    running: int = 0
    timeouts: int = 0

    @property
    def files(self) -> SessionFiles:
        """The session's files; refused while it has no container."""
        if self.place is None:
            raise errors.no_session()
        return SessionFiles(self.place.container.open_data)

    @property
    def guid(self) -> str:
        """Names its container; another one means that what the session held is lost."""
        return self.place.container.guid if self.place else ""
