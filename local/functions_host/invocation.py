"""Calls functions: `def` in a thread pool, `async def` on the event loop, each for a bounded time.

Contract: the worker's invocation_request and the host's function timeout. The real host restarts the
worker when a function runs out of time; here the caller gets the same answer, but a `def` function keeps
its thread until it returns.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from local.functions_host.indexing import HostedFunction

Result = TypeVar("Result")
_THREADS_SETTING = "PYTHON_THREADPOOL_THREAD_COUNT"
_logger = logging.getLogger("local.functions_host")
_thread_local = threading.local()


class InvocationFailed(Exception):
    """The function raised, ran out of time, or its result goes nowhere; already logged."""


@dataclass(frozen=True)
class TraceContext:
    """The W3C trace context of an invocation; the capitalized names are the library's deprecated ones."""

    trace_parent: str
    trace_state: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    Traceparent = property(lambda self: self.trace_parent)
    Tracestate = property(lambda self: self.trace_state)
    Attributes = property(lambda self: self.attributes)


@dataclass(frozen=True)
class RetryContext:
    """Which try this is; HTTP functions are never retried."""

    retry_count: int = 0
    max_retry_count: int = 0
    exception: None = None


@dataclass(frozen=True)
class Context:
    """What a function's `context` parameter gets: the attributes of `azure.functions.Context`."""

    invocation_id: str
    function_name: str
    function_directory: str
    trace_context: TraceContext
    retry_context: RetryContext = RetryContext()
    thread_local_storage: threading.local = _thread_local


class Out:
    """What a `func.Out` parameter gets."""

    def __init__(self) -> None:
        self._value: object = None

    def set(self, val: object) -> None:
        """Sets the output's value."""
        self._value = val

    def get(self) -> object:
        """The value set before, or None."""
        return self._value


@dataclass(frozen=True)
class _Outcome:
    value: object = None
    error: BaseException | None = None


class Invoker:
    """Runs the functions of one app.

    Args:
        timeout_seconds: how long one invocation may take; None for no bound.
        environment: where PYTHON_THREADPOOL_THREAD_COUNT is looked up.
    """

    def __init__(self, timeout_seconds: float | None, environment: Mapping[str, str] = os.environ) -> None:
        self._timeout = timeout_seconds
        self._threads = ThreadPoolExecutor(thread_count(environment), thread_name_prefix="function")
        self._tasks: set[asyncio.Future[_Outcome]] = set()

    @property
    def running(self) -> int:
        """How many functions have not returned yet, those that ran out of time included."""
        return len(self._tasks)

    def close(self) -> None:
        """Takes no more work and lets queued work go; functions under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(
        self,
        function: HostedFunction,
        arguments: Mapping[str, object],
        trace: TraceContext,
        convert: Callable[[object], Result],
    ) -> Result:
        """Invokes a function.

        Args:
            function: which.
            arguments: what its bindings provide; context and outputs are added here.
            trace: the trace context of what caused the invocation.
            convert: makes the reply of what the function returned.

        Raises:
            InvocationFailed: there is no reply; the log has the reason.
        """
        invocation_id = str(uuid.uuid4())
        started = time.monotonic()
        label = f"'Functions.{function.name}'"
        _logger.info("Executing %s (Id=%s)", label, invocation_id)
        outputs = {name: Out() for name in function.signature.outputs}
        given = {**arguments, **outputs}
        context = Context(invocation_id, function.name, function.directory, trace)
        if function.signature.wants_context:
            given["context"] = context
        outcome = await self._bounded(function, given, context)
        if outcome.error is None:
            outcome = _finished(function, outcome.value, convert)
        milliseconds = round((time.monotonic() - started) * 1000)
        if outcome.error is not None:
            text = "Executed %s (Failed, Id=%s, Duration=%sms)"
            _logger.error(text, label, invocation_id, milliseconds, exc_info=outcome.error)
            raise InvocationFailed(function.name) from outcome.error
        for name in (name for name, output in outputs.items() if output.get() is not None):
            _logger.warning("Output '%s' of %s was not written: this host writes none yet.", name, label)
        _logger.info("Executed %s (Succeeded, Id=%s, Duration=%sms)", label, invocation_id, milliseconds)
        return outcome.value  # type: ignore[return-value]  # it came out of `convert`

    async def _bounded(self, function: HostedFunction, given: Mapping[str, object], context: Context) -> _Outcome:
        task: asyncio.Future[_Outcome]
        cancel: Callable[[], bool]
        if function.is_async:
            task = asyncio.create_task(_call_async(function, given, context))
            cancel = task.cancel
        else:
            queued = self._threads.submit(_call, function, given, context)
            task, cancel = asyncio.wrap_future(queued), queued.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        except asyncio.CancelledError:
            cancel()
            raise
        if done:
            return task.result()
        # One that waits for a thread must not run after its caller was told that it failed. One that runs in a
        # thread cannot be cancelled, and still counts as running.
        cancel()
        return _Outcome(
            error=TimeoutError(
                f"Timeout value of {self._timeout:g} s exceeded by function 'Functions.{function.name}'. "
                "The real host would now restart the worker."
            )
        )


def thread_count(environment: Mapping[str, str]) -> int:
    """How many `def` functions run at once: PYTHON_THREADPOOL_THREAD_COUNT, else min(32, processors + 4)."""
    text = environment.get(_THREADS_SETTING, "")
    try:
        count = int(text) if text else 0
    except ValueError:
        _logger.warning("%s must be an integer", _THREADS_SETTING)
        count = 0
    return count if count >= 1 else min(32, (os.cpu_count() or 1) + 4)


def trace_context(headers: Mapping[str, str]) -> TraceContext:
    """The caller's trace context, or a new one."""
    parent = headers.get("traceparent") or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    return TraceContext(parent, headers.get("tracestate", ""))


def _call(function: HostedFunction, given: Mapping[str, object], context: Context) -> _Outcome:
    _thread_local.invocation_id = context.invocation_id
    try:
        return _Outcome(function.entry(**given))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # kept in the outcome and logged
        return _Outcome(error=error)
    finally:
        _thread_local.invocation_id = None
        sys.stdout.flush()


async def _call_async(function: HostedFunction, given: Mapping[str, object], context: Context) -> _Outcome:
    _thread_local.invocation_id = context.invocation_id
    try:
        return _Outcome(await function.entry(**given))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # kept in the outcome and logged
        return _Outcome(error=error)
    finally:
        sys.stdout.flush()


def _finished(function: HostedFunction, value: object, convert: Callable[[Any], object]) -> _Outcome:
    if value is not None and not function.signature.has_return:
        return _Outcome(
            error=RuntimeError(f"function {function.name!r} without a $return binding returned a non-None value")
        )
    try:
        return _Outcome(convert(value))
    except Exception as error:  # noqa: BLE001  # kept in the outcome and logged
        return _Outcome(error=error)
