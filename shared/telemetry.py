"""What the app tells of itself while it works, for Application Insights.

A session is told as a digest, an error as its code, and what was said, written and printed only where
TELEMETRY_CONTENT says so. Without APPLICATIONINSIGHTS_CONNECTION_STRING nothing is told, and no library is loaded for
it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

from shared.errors import ChatAbandoned, DeadlineReached, ServiceError
from shared.settings import Settings
from shared.telemetry_names import (
    DIMENSIONS,
    DURATION,
    ERROR,
    ERROR_CODE,
    FAILURES,
    POOL_FULL,
    RUN_ID,
    RUN_STATUS,
    RUN_WAIT,
    RUNS,
    SESSION_LOST,
)

Attributes = dict[str, str | int | float | bool]
Kind = Literal["internal", "client", "consumer"]

_log = logging.getLogger(__name__)


class Sink:
    """Where it is told; this one, where nobody listens, forgets it.

    Attributes:
        on: whether anybody listens.
        content: whether to tell what was said, written and printed.
    """

    on = False
    content = False

    def span(
        self, name: str, attributes: Attributes, *, kind: Kind = "internal", parent: str = ""
    ) -> AbstractContextManager[None]:
        """A span around the block.

        Args:
            name: of the span.
            attributes: its attributes, as they are in the end; with `error.type` it has failed.
            kind: `client` for a call of another service, `consumer` for a message of a queue.
            parent: a traceparent in place of the current span.
        """
        return nullcontext()

    def event(self, name: str) -> None:
        """Something that happens in the current span."""

    def measure(self, metric: str, value: float, attributes: Attributes) -> None:
        """A value of a metric."""

    def traceparent(self) -> str:
        """The current span in the form of W3C's trace context; empty where there is none."""
        return ""

    def within(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Makes the span that a request's headers name the current one."""
        return nullcontext()


class _Process:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started = False
        self.sink = Sink()


_process = _Process()


def sink() -> Sink:
    """Where the process tells it."""
    return _process.sink


def start() -> None:
    """Has the process tell from now on, where a connection string is set; further calls do nothing.

    A failure is logged, and the app goes on without.
    """
    if _process.started:
        return
    with _process.lock:
        if not _process.started:
            _process.sink = _configured() or _process.sink
            _process.started = True


def _configured() -> Sink | None:
    # A fault in any other setting is told by the request that meets it.
    names = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "TELEMETRY_CONTENT", "AZURE_CLIENT_ID")
    settings = Settings.from_environment({name: os.environ.get(name, "") for name in names})
    if not settings.telemetry_connection:
        return None
    try:
        from shared.telemetry_azure import azure_sink

        return azure_sink(settings)
    except Exception as error:  # noqa: BLE001  # whatever it is, the app does its work without telemetry
        _log.error(
            "Telemetry could not be started (%s): check APPLICATIONINSIGHTS_CONNECTION_STRING, and that the packages "
            "of requirements.txt are installed.",
            type(error).__name__,
        )
        return None


@contextmanager
def caller(headers: Mapping[str, str]) -> Iterator[None]:
    """Makes what happens in the block a part of the trace that a request names.

    Args:
        headers: of the request, names in lower case.
    """
    start()
    with sink().within(headers):
        yield


def traceparent() -> str:
    """The current span in the form of W3C's trace context; empty where nothing is told."""
    return sink().traceparent()


@contextmanager
def operation(name: str, attributes: Attributes, *, kind: Kind = "internal") -> Iterator[None]:
    """Something that takes its time: a span, and its duration as a metric.

    Args:
        name: of the span.
        attributes: its attributes, as they are in the end.
        kind: as in `Sink.span`.
    """
    begun = time.perf_counter()
    with sink().span(name, attributes, kind=kind):
        try:
            with _failing(attributes):
                yield
        finally:
            sink().measure(DURATION, time.perf_counter() - begun, dimensions(attributes))


@contextmanager
def run(run_id: str, *, parent: str, waited_seconds: float | None) -> Iterator[Attributes]:
    """A delivery of a run, and what is told of it.

    Args:
        run_id: of the run.
        parent: the traceparent of the post, or empty.
        waited_seconds: since the post, for the first delivery.
    """
    attributes: Attributes = {RUN_ID: run_id}
    if waited_seconds is not None:
        attributes[RUN_WAIT] = waited_seconds
        sink().measure(RUN_WAIT, waited_seconds, {})
    with sink().span("run", attributes, kind="consumer", parent=parent), _failing(attributes):
        yield attributes


def run_is(status: str) -> None:
    """Counts a run that was queued, or has ended."""
    sink().measure(RUNS, 1, {RUN_STATUS: status})


def failure(code: str) -> None:
    """Counts a request, a run or a delivery of a run that has failed."""
    sink().measure(FAILURES, 1, {ERROR: code})


def pool_full() -> None:
    """Tells that a pool has no free session."""
    _happened(POOL_FULL)


def session_lost() -> None:
    """Tells that a session was lost with what was in it."""
    _happened(SESSION_LOST)


def digest(identifier: str) -> str:
    """What a session is called in telemetry: nobody finds the session by it."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:16]


def dimensions(attributes: Attributes) -> Attributes:
    """Of an operation's attributes those that its metrics have."""
    return {name: attributes[name] for name in DIMENSIONS if name in attributes}


def fail(attributes: Attributes, code: str) -> None:
    """Notes why an operation failed or was put off, unless it is noted already."""
    attributes.setdefault(ERROR, code)
    attributes.setdefault(ERROR_CODE, code)


@contextmanager
def _failing(attributes: Attributes) -> Iterator[None]:
    try:
        yield
    except ChatAbandoned:
        raise
    except ServiceError as error:
        fail(attributes, error.code)
        raise
    except Exception as error:
        # The words of an unforeseen one may hold anything.
        fail(attributes, "deadline" if isinstance(error, DeadlineReached) else type(error).__name__)
        raise


def _happened(name: str) -> None:
    sink().event(name)
    sink().measure(name, 1, {})
