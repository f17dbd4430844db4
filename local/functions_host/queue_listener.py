"""Reads one queue and calls its function for each message.

Contract: the storage extension's QueueListener and QueueProcessor. A fetched message is hidden for ten minutes, which
is renewed at half time while its function runs. Success deletes it; a failure shows it again after
`visibilityTimeout`; at `maxDequeueCount` tries it goes to the poison queue. Delivery is at least once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from local.functions_host.background import tell_failure
from local.functions_host.queue_settings import QueueOptions
from local.functions_host.queue_storage import POISON_SUFFIX, Message, MessageGone, StorageFailed, StorageQueue, decoded

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[object]]
LEASE_SECONDS = 600
_RENEWAL_SECONDS_MIN = 60.0
_POLLING_SECONDS_MIN = 0.1
# As often, and after the pauses, that the SDK of the real host tries again.
_RETRY_SECONDS = (0.8, 1.6, 3.2)
# What the host gives back when it stops, another one may have while this process ends.
_GIVEN_BACK_SECONDS = 1
_STORAGE_THREADS = 8
_logger = logging.getLogger("local.functions_host")


class Pauses:
    """The pauses between looks at an empty queue: twice as long each time, a little random, up to a bound.

    Args:
        longest: the bound in seconds.
        uniform: gives a random number between two.
    """

    def __init__(self, longest: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._longest = longest
        self._uniform = uniform
        self._step = 0

    def after_messages(self) -> None:
        """Starts from the shortest pause again."""
        self._step = 0

    def next(self) -> float:
        """How many seconds to wait now."""
        # Beyond the bound the exponent has no meaning, and would grow without end.
        step = min(self._step, 20)
        self._step += 1
        grown = _POLLING_SECONDS_MIN * 2 ** (step - 1) * self._uniform(0.8, 1.2) if step else 0.0
        return min(_POLLING_SECONDS_MIN + grown, self._longest)


@dataclass(eq=False)
class _Held:
    """A message in work; renewals change its receipt."""

    message: Message
    done: asyncio.Event = field(default_factory=asyncio.Event)


class QueueListener:
    """Listens to one queue.

    Args:
        queue: the queue.
        options: how it is read.
        call: invokes the function with a message and its text, and says whether it succeeded.
        sleep: waits for so many seconds.
        lease_seconds: how long a fetched message is hidden from others.
        pauses: between looks at the empty queue.
    """

    def __init__(
        self,
        queue: StorageQueue,
        options: QueueOptions,
        call: Callable[[Message, str], Awaitable[bool]],
        *,
        sleep: Sleep = asyncio.sleep,
        lease_seconds: int = LEASE_SECONDS,
        pauses: Pauses | None = None,
    ) -> None:
        self._queue = queue
        self._options = options
        self._call = call
        self._sleep = sleep
        self._lease_seconds = lease_seconds
        self._pauses = pauses or Pauses(options.max_polling_seconds)
        self._threads = ThreadPoolExecutor(_STORAGE_THREADS, thread_name_prefix="function-storage")
        self._working: dict[asyncio.Task[None], _Held] = {}
        self._polling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._is_away = False

    def start(self) -> None:
        """Begins to listen, on the running event loop."""
        self._polling = asyncio.create_task(self._poll())
        self._polling.add_done_callback(tell_failure(f"Queue '{self._queue.name}': looking for messages"))

    def take_no_more(self) -> None:
        """Lets the messages in the queue lie; those in work go on."""
        self._stopping.set()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more messages, and gives those back whose functions do not end in time.

        Args:
            grace_seconds: how long functions under way may take, and after that what gives messages back.
        """
        self.take_no_more()
        tasks = {*self._working, *([self._polling] if self._polling else [])}
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        left = [held for task, held in self._working.items() if not task.done()]
        if left:
            _logger.warning("Queue '%s': %d messages in work are given back.", self._queue.name, len(left))
            given_back = [asyncio.create_task(self._give_back(held)) for held in left]
            await asyncio.wait(given_back, timeout=grace_seconds)
        for task in tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._queue.close()

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            found = await self._fetch()
            for message in found:
                self._take(message)
            if found:
                self._pauses.after_messages()
                await self._until_room()
            else:
                await self._wait(self._stopping, self._pauses.next())

    async def _fetch(self) -> list[Message]:
        try:
            found = await self._blocking(self._queue.fetch, self._options.batch_size, self._lease_seconds)
        except StorageFailed as failure:
            if not self._is_away:
                _logger.warning("Queue '%s' cannot be read (%s); trying on.", self._queue.name, failure)
            self._is_away = True
            return []
        if self._is_away:
            _logger.warning("Queue '%s' can be read again.", self._queue.name)
        self._is_away = False
        return found

    def _take(self, message: Message) -> None:
        held = _Held(message)
        work = self._give_back(held) if self._stopping.is_set() else self._process(held)
        task = asyncio.create_task(work)
        self._working[task] = held
        task.add_done_callback(lambda done: self._working.pop(done, None))
        task.add_done_callback(tell_failure(f"Queue '{self._queue.name}', message {message.id}: its handling"))

    async def _until_room(self) -> None:
        while len(self._working) > self._options.new_batch_threshold and not self._stopping.is_set():
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({stopping, *self._working}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()

    async def _process(self, held: _Held) -> None:
        message = held.message
        if message.dequeue_count > self._options.max_dequeue_count:
            await self._poison(held)
            return
        try:
            text = decoded(message, is_base64=self._options.is_base64)
        except ValueError as error:
            _logger.error("Queue '%s', message %s: %s.", self._queue.name, message.id, error)
            await self._poison(held)
            return
        renewing = asyncio.create_task(self._renew(held))
        try:
            succeeded = await self._call(message, text)
        finally:
            held.done.set()
            # A renewal under way brings the receipt that is needed now.
            await renewing
        await self._complete(held, succeeded)

    async def _renew(self, held: _Held) -> None:
        normal = pause = self._lease_seconds / 2
        while not await self._wait(held.done, pause):
            try:
                await self._blocking(self._hide_again, held)
                pause = normal
            except MessageGone:
                _logger.warning("Queue '%s', message %s: another has it.", self._queue.name, held.message.id)
                return
            except StorageFailed:
                pause = min(normal, max(pause / 2, _RENEWAL_SECONDS_MIN))

    def _hide_again(self, held: _Held) -> None:
        held.message = self._queue.hide(held.message, self._lease_seconds)

    async def _complete(self, held: _Held, succeeded: bool) -> None:
        if succeeded:
            await self._persistently(held, lambda: self._queue.delete(held.message))
        elif not self._queue.has_poison:
            # It stays hidden until the lease runs out, which keeps a failure from coming again at once.
            return
        elif held.message.dequeue_count >= self._options.max_dequeue_count:
            await self._poison(held)
        else:
            pause = round(self._options.visibility_seconds)
            await self._persistently(held, lambda: self._queue.hide(held.message, pause))

    async def _poison(self, held: _Held) -> None:
        if not self._queue.has_poison:
            return
        _logger.error(
            "Message %s has reached MaxDequeueCount of %d or cannot be read. Moving it to queue '%s%s'.",
            held.message.id,
            self._options.max_dequeue_count,
            self._queue.name,
            POISON_SUFFIX,
        )
        # Only what is still ours, and each step again by itself: nothing gets into the poison queue twice.
        is_ours = await self._persistently(held, lambda: self._hide_again(held))
        if is_ours and await self._persistently(held, lambda: self._queue.copy_to_poison(held.message)):
            await self._persistently(held, lambda: self._queue.delete(held.message))

    async def _give_back(self, held: _Held) -> None:
        try:
            await self._blocking(self._queue.hide, held.message, _GIVEN_BACK_SECONDS)
        except StorageFailed as failure:
            _logger.warning("Queue '%s', message %s: %s.", self._queue.name, held.message.id, failure)

    async def _persistently(self, held: _Held, change: Callable[[], object]) -> bool:
        """Makes a change, again after pauses where the storage fails; returns whether it was made.

        Where it was not, the lease brings the message back.
        """
        pauses = iter(_RETRY_SECONDS)
        while True:
            try:
                await self._blocking(change)
                return True
            except StorageFailed as failure:
                pause = next(pauses, None)
                if pause is None or isinstance(failure, MessageGone):
                    _logger.warning("Queue '%s', message %s: %s.", self._queue.name, held.message.id, failure)
                    return False
            await self._sleep(pause)

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits for the event, or so long; returns whether the event has come."""
        waiting = asyncio.ensure_future(event.wait())
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        sleeping.cancel()
        return event.is_set()

    async def _blocking(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
