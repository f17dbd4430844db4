"""The listeners of an app: one for each function whose trigger is not HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from local.functions_host import queue_settings, trigger_data
from local.functions_host.background import tell_failure
from local.functions_host.indexing import QUEUE_TRIGGER, TIMER_TRIGGER, HostedFunction
from local.functions_host.invocation import InvocationFailed, Invoker, trace_context
from local.functions_host.queue_listener import LEASE_SECONDS, QueueListener
from local.functions_host.queue_settings import QueueOptions
from local.functions_host.queue_storage import Message, StorageQueue
from local.functions_host.timer_listener import TimerListener
from local.functions_host.timer_schedule import Schedule

_logger = logging.getLogger("local.functions_host")
# A part of the local stack has six seconds to end. Three are for HTTP requests, and this one twice: for functions to
# end, and then for messages to be given back.
_GRACE_SECONDS = 1.0


class Listener(Protocol):
    """What waits for events and calls a function."""

    def start(self) -> None:
        """Begins, on the running event loop."""

    def take_no_more(self) -> None:
        """Calls the function no more."""

    async def stop(self, grace_seconds: float) -> None:
        """Ends; functions under way have so long."""


class Listeners:
    """All listeners of an app.

    Args:
        functions: those that run.
        invoker: calls them.
        options: of queues.
        environment: app settings.
        lease_seconds: how long a fetched message is hidden from others.
    """

    def __init__(
        self,
        functions: Sequence[HostedFunction],
        invoker: Invoker,
        options: QueueOptions,
        environment: Mapping[str, str],
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._invoker = invoker
        self._options = options
        self._lease_seconds = lease_seconds
        self._functions = [function for function in functions if function.trigger in (QUEUE_TRIGGER, TIMER_TRIGGER)]
        self._environment = environment
        self.problems = {function.name: problem for function in self._functions if (problem := self._problem(function))}
        self._running: list[Listener] = []
        self._by_hand: set[asyncio.Task[bool]] = set()

    def start(self) -> None:
        """Starts those that can run, on the running event loop."""
        for function in self._functions:
            if function.name not in self.problems:
                listener = self._listener(function)
                listener.start()
                self._running.append(listener)

    def take_no_more(self) -> None:
        """Begins to stop: no function is called any more."""
        for listener in self._running:
            listener.take_no_more()

    async def stop(self) -> None:
        """Stops all, and what was called by hand."""
        for task in self._by_hand:
            task.cancel()
        await asyncio.gather(*(listener.stop(_GRACE_SECONDS) for listener in self._running))
        self._running.clear()

    def call_soon(self, function: HostedFunction, argument: Any) -> None:
        """Invokes a function and does not wait for it."""
        task = asyncio.create_task(self._call(function, argument))
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)
        task.add_done_callback(tell_failure(f"The call of '{function.name}'"))

    async def _call(self, function: HostedFunction, argument: Any) -> bool:
        name = str(function.trigger_binding["name"])
        try:
            await self._invoker.run(function, {name: argument}, trace_context({}), lambda _: None)
        except InvocationFailed:
            return False
        return True

    def _problem(self, function: HostedFunction) -> str:
        try:
            if function.trigger == TIMER_TRIGGER:
                self._schedule(function)
            else:
                self._queue(function).close()
        except ValueError as error:
            return str(error)
        return ""

    def _listener(self, function: HostedFunction) -> Listener:
        if function.trigger == TIMER_TRIGGER:
            at_start = function.trigger_binding.get("runOnStartup") is True
            schedule = self._schedule(function)
            return TimerListener(function.name, schedule, lambda: self._fire(function), at_start=at_start)
        return QueueListener(
            self._queue(function),
            self._options,
            lambda message, text: self._deliver(function, message, text),
            lease_seconds=self._lease_seconds,
        )

    async def _fire(self, function: HostedFunction) -> bool:
        return await self._call(function, trigger_data.timer_request())

    async def _deliver(self, function: HostedFunction, message: Message, text: str) -> bool:
        details = "Trigger Details: MessageId: %s, DequeueCount: %d, InsertionTime: %s"
        _logger.info(details, message.id, message.dequeue_count, message.inserted.isoformat())
        return await self._call(function, trigger_data.queue_message(text, message))

    def _schedule(self, function: HostedFunction) -> Schedule:
        return Schedule(queue_settings.expand(str(function.trigger_binding.get("schedule", "")), self._environment))

    def _queue(self, function: HostedFunction) -> StorageQueue:
        binding = function.trigger_binding
        name = queue_settings.expand(str(binding.get("queueName", "")), self._environment).lower()
        queue_settings.check_queue_name(name)
        connection = queue_settings.connection(str(binding.get("connection") or ""), self._environment)
        try:
            return StorageQueue(connection, name)
        except ValueError:
            raise ValueError(f"the setting {binding.get('connection')} is no usable connection string") from None


def by_hand(function: HostedFunction, body: bytes) -> Any:
    """What a function gets when somebody calls it by hand.

    Args:
        function: which.
        body: of the request, `{"input": "..."}`; a timer needs no input.

    Returns:
        None for a function with another trigger, or a body that is not like this.
    """
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        return None
    text = content.get("input", "") if isinstance(content, dict) else None
    if function.trigger == TIMER_TRIGGER and text is not None:
        return trigger_data.timer_request()
    if function.trigger == QUEUE_TRIGGER and isinstance(text, str):
        return trigger_data.queue_message(text)
    return None
