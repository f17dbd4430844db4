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
from shared.chat_log import CANCELLED, ChatAbandoned
from shared.chat_reply import encoded, outcome_body, problem_body, step_body
from shared.deadline import Deadline
from shared.errors import (
    DeadlineReached,
    ModelUnreachable,
    PoolUnreachable,
    RunBusy,
    RunChanged,
    RunGivenUp,
    ServiceError,
    StorageError,
    StorageLimitExceeded,
)
from shared.run_record import HeldRun, Recorder, earlier_of
from shared.runs import FAILED, Callback, Run
from shared.session import Session
from shared.settings import Settings
from shared.steps import Step, Usage
from shared.telemetry_names import ATTEMPT, RUN_STATUS

if TYPE_CHECKING:
    from shared.run_lease import Lease
    from shared.run_store import RunStore, Stored

ATTEMPTS = 5
# A lease lasts as long where its holder is gone.
BUSY_SECONDS = 60
FREEING_SECONDS = 30.0

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
        with store.lease(run_id) as lease, _Work(stored, store, settings, lease, deliver).told(clock()) as work:
            work.carry_out(clock)
    except (RunBusy, ChatAbandoned):
        # Whoever has the run now may be gone before its end.
        store.enqueue(run_id, BUSY_SECONDS)


def fail_poisoned(run_id: str, store: RunStore, settings: Settings, *, deliver: Deliver = callbacks.deliver) -> None:
    """Ends a run whose message was delivered in vain too often; one that is being worked on or has ended is left.

    Args:
        run_id: as the message names it.
        store: of the runs.
        settings: for the callback.
        deliver: posts the reply where the run has a callback.

    Raises:
        ServiceError: the message has to be delivered again.
    """
    stored = store.load(run_id)
    if stored is None or stored.run.is_ended:
        return
    try:
        with store.lease(run_id) as lease, _Work(stored, store, settings, lease, deliver).told(time.time()) as work:
            work.give_up()
    except (RunBusy, ChatAbandoned):
        # It has a message of its own.
        return


def _is_done(run: Run) -> bool:
    return run.is_ended and (run.callback is None or run.callback.state != "pending")


class _Work(HeldRun):
    """One delivery's work on a run, under its lease."""

    def __init__(self, stored: Stored, store: RunStore, settings: Settings, lease: Lease, deliver: Deliver) -> None:
        super().__init__(stored, store, lease)
        self._settings = settings
        self._deliver = deliver
        self._reply: bytes | None = None

    @contextmanager
    def told(self, now: float) -> Iterator[_Work]:
        """Tells of this delivery, from its beginning to its end."""
        run = self.run
        waited = None if run.attempts or run.is_ended else now - run.created_at
        with telemetry.run(run.run_id, parent=run.traceparent, waited_seconds=waited) as told:
            try:
                yield self
            finally:
                told |= {RUN_STATUS: self.run.status, ATTEMPT: self.attempt}
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
        """Ends the run, as failed unless it was only its end that was not written down."""
        if not self._end_as_replied():
            self._fail(RunGivenUp("The run's message was delivered in vain too often."))
        self._call_back()

    def _finish(self, clock: Callable[[], float]) -> None:
        begun_before = self.attempt > 1
        if begun_before and self._end_as_replied():
            return
        if self.run.cancel_requested and not begun_before:
            self._end(CANCELLED)
        elif self.attempt > ATTEMPTS:
            self._fail(RunGivenUp(f"The run was begun {ATTEMPTS} times without coming to an end."))
        else:
            self._chat(Deadline.after(max(0.0, self.run.expires_at - clock())))

    def _chat(self, deadline: Deadline) -> None:
        run = self.run
        try:
            outcome = run_chat(
                self._task(),
                self._settings,
                deadline,
                observer=Recorder(self),
                earlier=earlier_of(run),
            )
            self.check_hold()
            reply = encoded(outcome_body(outcome))
            self._store.save_reply(self._run_id, reply)
        except ServiceError as error:
            if _is_worth_another_try(error) and self.attempt < ATTEMPTS:
                raise
            self._fail(error)
            return
        self._reply = reply
        self._end(outcome.status, outcome.steps, outcome.usage)

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
        if status == CANCELLED and (self.attempt > 1 or self._reply is not None):
            self._free_session()
        spent = usage or Usage()
        self.save(lambda run: replace(run, status=status, steps=steps, usage=spent, pending=""))

    def _fail(self, error: ServiceError) -> None:
        _log.warning("A run failed: %s: %s", error.code, error.detail)
        telemetry.failure(error.code)
        self.save(lambda run: replace(run, status=FAILED, pending="", problem=problem_body(error)))

    def _call_back(self) -> None:
        if _is_done(self.run):
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
            _log.warning("The session of a cancelled run could not be ended: %s", type(error).__name__)


def _is_worth_another_try(error: ServiceError) -> bool:
    if isinstance(error, StorageLimitExceeded):
        return False
    return error.status == 503 or isinstance(error, (PoolUnreachable, ModelUnreachable, StorageError, RunChanged))


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
