"""A queue on a real Azurite, and a listener whose time the tests move."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from local.functions_host.queue_listener import QueueListener
from local.functions_host.queue_settings import Connection, QueueOptions
from local.functions_host.queue_storage import Message, StorageFailed, StorageQueue

BOUND_SECONDS = 60
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
Fail = Callable[[str, int], "StorageFailed | None"]


class FailingQueue(StorageQueue):
    """The queue as a listener has it, some of whose calls fail.

    Args:
        connection, name: as of the real one.
        fail: given the name of a call and its number, from 1, what it raises instead of being made.
    """

    def __init__(self, connection: Connection, name: str, fail: Fail) -> None:
        super().__init__(connection, name)
        self._fail = fail
        self._numbers: Counter[str] = Counter()

    def hide(self, message: Message, seconds: int) -> Message:
        self._count("hide")
        return super().hide(message, seconds)

    def delete(self, message: Message) -> None:
        self._count("delete")
        super().delete(message)

    def copy_to_poison(self, message: Message) -> None:
        self._count("copy_to_poison")
        super().copy_to_poison(message)

    def _count(self, method: str) -> None:
        self._numbers[method] += 1
        failure = self._fail(method, self._numbers[method])
        if failure:
            raise failure


@asynccontextmanager
async def listening(
    queue: Queue,
    call: Call,
    options: QueueOptions | None = None,
    clock: Time | None = None,
    *,
    fail: Fail | None = None,
) -> AsyncIterator[QueueListener]:
    """A listener on the queue that has started, and is stopped in the end without grace."""
    clock = clock or Time()
    storage = FailingQueue(Connection(queue.connection), queue.name, fail or (lambda method, number: None))
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


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), BOUND_SECONDS))


class Calls:
    """A function that notes its calls and does what `answers` say, success in the end."""

    def __init__(self, *answers: bool) -> None:
        self.seen: list[tuple[str, int]] = []
        self.messages: list[Message] = []
        self._answers = list(answers)

    async def __call__(self, message: Message, text: str) -> bool:
        self.seen.append((text, message.dequeue_count))
        self.messages.append(message)
        return self._answers.pop(0) if self._answers else True


class Blocking:
    """A function that ends when the test says so."""

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[bool]] = {}
        self.most = 0
        self.ended = 0

    async def __call__(self, message: Message, text: str) -> bool:
        self.running[text] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.running))
        try:
            return await self.running[text]
        finally:
            del self.running[text]
            self.ended += 1
