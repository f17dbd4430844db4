"""A queue on a real Azurite, and a listener whose time the tests move."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.functions_host.queue_listener import QueueListener
from local.functions_host.queue_settings import Connection, QueueOptions
from local.functions_host.queue_storage import Message, StorageQueue

BOUND_SECONDS = 20
_numbers = itertools.count()


class Queue:
    """A queue of its own, and its poison queue."""

    def __init__(self, connection: str, name: str = "", *, create: bool = True) -> None:
        self.name = name or f"queue-{next(_numbers)}"
        self.connection = connection
        self.client = QueueClient.from_connection_string(connection, self.name)
        self._poison = QueueClient.from_connection_string(connection, f"{self.name}-poison")
        if create:
            self.client.create_queue()

    def put(self, *texts: str) -> None:
        for text in texts:
            self.client.send_message(base64.b64encode(text.encode()).decode())

    @property
    def count(self) -> int:
        """How many messages there are, hidden ones too."""
        return int(self.client.get_queue_properties().approximate_message_count or 0)

    @property
    def poison(self) -> list[str]:
        try:
            return [str(message.content) for message in self._poison.peek_messages(32)]
        except ResourceNotFoundError:
            return []


class Time:
    """Sleeps that end when the test says so; short ones, between looks at the queue, end at once."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._long: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        if seconds <= 5:
            await asyncio.sleep(0)
            return
        self._long.append(asyncio.get_running_loop().create_future())
        await self._long[-1]

    async def pass_(self) -> None:
        """Ends the long sleep that is under way, or the next one."""
        await until(lambda: bool(self._long))
        ending = self._long.pop()
        if not ending.done():
            ending.set_result(None)


Call = Callable[[Message, str], Awaitable[bool]]


@asynccontextmanager
async def listening(
    queue: Queue, call: Call, options: QueueOptions | None = None, clock: Time | None = None
) -> AsyncIterator[QueueListener]:
    """A listener on the queue that has started, and is stopped in the end without grace."""
    clock = clock or Time()
    storage = StorageQueue(Connection(queue.connection), queue.name)
    listener = QueueListener(storage, options or QueueOptions(), call, sleep=clock.sleep)
    listener.start()
    try:
        yield listener
    finally:
        await listener.stop(0.5)


async def until(condition: Callable[[], bool]) -> None:
    """Waits, within the bound, for something that comes."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.005)
