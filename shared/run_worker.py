"""Carries out runs that the queue delivers: at least once each, in part or again, and so that it shows once.

Whatever is done is saved before what follows from it is begun: each step before the next message goes out, the reply
before the record says that the run has ended, and that before the callback. So the next delivery after a crash finds
where to go on. A lease keeps two deliveries apart, and a message exists for each run that has not ended.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from shared import callbacks, telemetry
from shared.chat import ChatTask, run_chat
from shared.chat_log import CANCELLED
from shared.chat_reply import encoded, outcome_body, problem_body, step_body
from shared.deadline import Deadline
from shared.errors import (
    ChatAbandoned,
    DeadlineReached,
    IdentityError,
    ModelBusy,
    ModelUnreachable,
    PoolFull,
    PoolOutcomeUnknown,
    PoolUnavailable,
    PoolUnreachable,
    RunBusy,
    RunChanged,
    RunGivenUp,
    ServiceError,
    StorageUnavailable,
    StorageUnreachable,
)
from shared.run_hold import HeldRun, Recorder, earlier_of
from shared.run_lease import LEASE_SECONDS
from shared.runs import FAILED, Callback, Run
from shared.session import Session
from shared.settings import Settings
from shared.steps import Step, Usage
from shared.telemetry_names import ATTEMPT, RUN_STATUS

if TYPE_CHECKING:
    from shared.run_lease import Lease
    from shared.run_store import RunStore, Stored

# As often as host.json delivers a message.
ATTEMPTS = 5
# Until a service that is busy is asked again: what it says itself, within bounds, or this.
WAIT_SECONDS, WAIT_SECONDS_MAX = 30, 300
FREEING_SECONDS = 30.0

# They say so themselves, and the run waits until its deadline.
_BUSY = (ModelBusy, PoolFull, PoolUnavailable)
# Perhaps for a moment only. What code has done whose answer was lost, its session is asked in the next attempt.
_WORTH_ANOTHER_TRY = (
    IdentityError,
    ModelUnreachable,
    PoolOutcomeUnknown,
    PoolUnreachable,
    RunChanged,
    StorageUnavailable,
    StorageUnreachable,
)

_log = logging.getLogger(__name__)


class Deliver(Protocol):
    """How a callback is delivered: as `callbacks.deliver` does."""

    def __call__(self, run: Run, reply: bytes, settings: Settings) -> Callback:
        """The callback as it stands then."""


def carry_out(
    run_id: str,
    store: RunStore,
    settings: Settings,
    *,
    deliver: Deliver = callbacks.deliver,
    clock: Callable[[], float] = time.time,
) -> None:
    """Carries out a run, or goes on with it where an earlier delivery was cut off.

    Returns where the message has done its work: the run has ended, is unknown, or has another message.

    Args:
        run_id: as the message names it.
        store: of the runs.
        settings: which pool and model, and the limits.
        deliver: posts the reply where the run has a callback.
        clock: seconds since the epoch.

    Raises:
        ServiceError: the message has to be delivered again.
    """
    stored = store.load(run_id)
    if stored is None or _is_done(stored.run):
        return
    try:
        with store.lease(run_id) as lease, _Work(stored, store, settings, lease, deliver).traced(clock()) as work:
            work.carry_out(clock)
    except (RunBusy, ChatAbandoned):
        _look_again(run_id, store)


def fail_poisoned(run_id: str, store: RunStore, settings: Settings, *, deliver: Deliver = callbacks.deliver) -> None:
    """Ends a run whose message was delivered in vain too often; one that is being worked on is looked at again later.

    Args:
        run_id: as the message names it.
        store: of the runs.
        settings: for the callback.
        deliver: posts the reply where the run has a callback.

    Raises:
        ServiceError: the message has to be delivered again.
    """
    stored = store.load(run_id)
    if stored is None or _is_done(stored.run):
        return
    try:
        with store.lease(run_id) as lease, _Work(stored, store, settings, lease, deliver).traced(time.time()) as work:
            work.give_up()
    except (RunBusy, ChatAbandoned):
        _look_again(run_id, store)


def _look_again(run_id: str, store: RunStore) -> None:
    # Whoever has the run now may be gone before its end, or be gone already: then its lease lasts as long as this.
    store.enqueue(run_id, LEASE_SECONDS)


def _is_done(run: Run) -> bool:
    return run.is_ended and (run.callback is None or run.callback.state != "pending")


class _Work(HeldRun):
    """One delivery's work on a run, under its lease."""

    def __init__(self, stored: Stored, store: RunStore, settings: Settings, lease: Lease, deliver: Deliver) -> None:
        super().__init__(stored, store, lease)
        self._settings = settings
        self._deliver = deliver
        self._reply: bytes | None = None
        self._problem_code = ""

    @contextmanager
    def traced(self, now: float) -> Iterator[_Work]:
        """Tells of this delivery, from its beginning to its end."""
        run = self.run
        waited = None if run.attempts or run.is_ended else now - run.created_at
        with telemetry.run(run.run_id, parent=run.traceparent, waited_seconds=waited) as attributes:
            try:
                yield self
            finally:
                attributes |= {RUN_STATUS: self.run.status, ATTEMPT: self.attempt}
                if self._problem_code:
                    telemetry.fail(attributes, self._problem_code)
                if self.run.is_ended and not run.is_ended:
                    telemetry.run_is(self.run.status)

    def carry_out(self, clock: Callable[[], float]) -> None:
        """Brings the run to its end, from wherever it is."""
        if self.run.is_ended:
            # It was read before the lease: whoever had that may have called back.
            self.reload()
        else:
            self.begin()
            self._finish(clock)
        self._call_back()

    def give_up(self) -> None:
        """Ends the run, as failed unless it was only its end that was not written down, or its callback not made."""
        if self.run.is_ended:
            self.reload()
        elif not self._end_as_replied():
            self._fail(RunGivenUp("The run's message was delivered in vain too often."))
        self._call_back()

    def _finish(self, clock: Callable[[], float]) -> None:
        begun_before = self.attempt > 1
        if begun_before and self._end_as_replied():
            return
        if self.run.cancel_requested and not begun_before:
            self._end(CANCELLED)
        elif self._attempts_in_vain > ATTEMPTS:
            self._fail(RunGivenUp(f"The run was begun {ATTEMPTS} times without coming to an end."))
        else:
            self._chat(Deadline.after(max(0.0, self.run.expires_at - clock())))

    @property
    def _attempts_in_vain(self) -> int:
        return self.attempt - self.run.waits

    def _chat(self, deadline: Deadline) -> None:
        try:
            outcome = run_chat(
                self._task(), self._settings, deadline, observer=Recorder(self), earlier=earlier_of(self.run)
            )
            self.check_hold()
            reply = encoded(outcome_body(outcome))
            is_the_first = self._store.save_reply(self._run_id, reply)
        except ServiceError as error:
            self._go_on_after(error, deadline)
            return
        if is_the_first:
            self._reply = reply
            self._end(outcome.status, outcome.steps, outcome.usage)
        else:
            self._end_as_replied()

    def _go_on_after(self, error: ServiceError, deadline: Deadline) -> None:
        """Waits where a service is busy, has the message delivered again where that may help, else fails the run."""
        seconds = min(error.retry_after_seconds or WAIT_SECONDS, WAIT_SECONDS_MAX)
        if isinstance(error, _BUSY) and seconds < deadline.remaining():
            problem = problem_body(error)
            self._problem_code = error.code
            self.save(lambda run: replace(run, waits=run.waits + 1, problem=problem))
            self._store.enqueue(self._run_id, seconds)
        elif isinstance(error, _WORTH_ANOTHER_TRY) and self._attempts_in_vain < ATTEMPTS:
            raise error
        else:
            self._fail(error)

    def _task(self) -> ChatTask:
        run = self.run
        return ChatTask(
            message=run.message,
            session_id=run.session_id,
            session_is_new=run.session_is_new,
            caller=run.caller,
            max_turns=run.max_turns,
            files=self._store.files(self._run_id) if run.files else {},
            run_id=run.run_id,
            token_budget=run.token_budget,
        )

    def _end_as_replied(self) -> bool:
        """Ends the run as its reply says, where there is one: only the record was not written any more."""
        self._reply = self._store.reply(self._run_id)
        if self._reply is None:
            return False
        body = json.loads(self._reply)
        steps = tuple(Step(**{**row, "pictures": tuple(row.get("pictures", ()))}) for row in body["steps"])
        self._end(body["status"], steps, Usage(**body["usage"]))
        return True

    def _end(self, status: str, steps: tuple[Step, ...] = (), usage: Usage | None = None) -> None:
        # In a session of an earlier conversation there is more than this run's work.
        if status == CANCELLED and self.run.session_is_new and (self.attempt > 1 or self._reply is not None):
            self._free_session()
        spent = usage or Usage()
        self.save(lambda run: replace(run, status=status, steps=steps, usage=spent, pending=""))

    def _fail(self, error: ServiceError) -> None:
        _log.warning("Run %s failed: %s: %s", self._run_id, error.code, error.detail)
        telemetry.failure(error.code)
        self._problem_code = error.code
        self.save(lambda run: replace(run, status=FAILED, pending="", problem=problem_body(error)))

    def _call_back(self) -> None:
        if not self.run.is_ended or _is_done(self.run):
            return
        reply = self._reply or self._store.reply(self._run_id)
        self.check_hold()
        delivered = self._deliver(self.run, _callback_body(self.run, reply), self._settings)
        self.save(lambda run: replace(run, callback=delivered))

    def _free_session(self) -> None:
        settings = self._settings
        try:
            Session(
                settings.pool_management_endpoint,
                session_id=self.run.session_id,
                caller=self.run.caller,
                client_id=settings.azure_client_id,
                api_version=settings.session_pool_api_version,
                deadline=Deadline.after(FREEING_SECONDS),
            ).delete_session()
        except (ServiceError, DeadlineReached) as error:
            # It ends by itself when it has cooled down.
            _log.warning("The session of run %s, cancelled, could not be ended: %s", self._run_id, type(error).__name__)


def _callback_body(run: Run, reply: bytes | None) -> bytes:
    made: dict[str, Any] = json.loads(reply) if reply is not None else {"result": "", "pictures": [], "files": []}
    own: dict[str, Any] = {
        "run_id": run.run_id,
        "session_id": run.session_id,
        "status": run.status,
        "steps": [step_body(step) for step in run.steps],
        "usage": asdict(run.usage),
    }
    problem = {"problem": run.problem} if run.problem is not None else {}
    return encoded({**made, **own, **problem})
