"""Asks for a run: starts it, shows its steps as they come, and cancels it when the user interrupts."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from local.answer_view import may_be_answer, show_question, show_step
from local.ask import View, line, progress
from local.ask_http import Answer, NoReply, Target, Unreachable, call, endpoint

_ACCEPT_SECONDS = 120.0
_WAIT_SECONDS = 20
_MARGIN_SECONDS = 30.0
# An app that restarts is back before; the run waits for it.
_AWAY_SECONDS = 120.0
_PAUSE_SECONDS_MAX = 5.0
# A run ends at its deadline, a little later where its code or its callback takes longer.
_OVERDUE_SECONDS = 300.0
# Of a run that does not say when it ends: the longest that `functionTimeout` in host.json allows.
_LASTS_SECONDS = 3600.0
_QUEUED_SECONDS = 30.0
_PAUSE_AFTER_POST_SECONDS = 1.0
_TIMES = ("created_at", "expires_at")
_WAITING = "The run goes on; waiting for its next step"


@dataclass(frozen=True)
class Clock:
    """The time.

    Attributes:
        now: seconds, which only go up.
        sleep: waits for so many seconds.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


def run(target: Target, body: Mapping[str, Any], view: View, clock: Clock | None = None) -> Answer:
    """Starts a run and follows it to its end.

    Args:
        target: whom to ask.
        body: what `ask.payload` gave.
        view: where steps are shown; nowhere where it wants JSON.
        clock: the time; None for the real one.

    Returns:
        The run's last reply, without the steps that were shown; or the reply that refused it.

    Raises:
        UsageError: the target cannot be asked.
        NoReply: nobody answered for too long, or not with JSON, or the run does not end.
        KeyboardInterrupt: the user interrupted; the run has been told to stop.
    """
    clock = clock or Clock()
    started = clock.now()
    # One key makes one run, whoever lost the answer; and it cancels the run before its address is known.
    headers = {**target.headers, "Idempotency-Key": uuid.uuid4().hex}
    url = endpoint(target, "runs")
    try:
        accepted = _accepted(url, body, headers)
        if accepted.status not in (200, 202):
            return accepted
        if not view.as_json:
            show_question(view.out, str(body["message"]))
        last = _Following(accepted.reply, view, clock).to_the_end()
    except KeyboardInterrupt:
        _cancel(url, headers, view, clock)
        raise
    return replace(last, seconds=clock.now() - started)


def _accepted(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    try:
        return call("POST", url, patience_seconds=_ACCEPT_SECONDS, body=body, headers=headers)
    except Unreachable:
        return call("POST", url, patience_seconds=_ACCEPT_SECONDS, body=body, headers=headers)


class _Following:
    """Follows one run by its status URL, which needs no key."""

    def __init__(self, accepted: Mapping[str, Any], view: View, clock: Clock) -> None:
        self._url = _address(accepted)
        self._view = view
        self._clock = clock
        self._seen = 0
        # The last step, while it may still turn out to be the answer.
        self._held: list[Mapping[str, Any]] = []
        self._told = False
        self._told_queued = False
        self._started = self._reached = clock.now()

    def to_the_end(self) -> Answer:
        failures = 0
        while True:
            try:
                answer = self._poll()
            except Unreachable as failure:
                failures += 1
                self._be_patient(failure, failures)
                continue
            failures = 0
            self._reached = self._clock.now()
            if answer.status != 202:
                return self._last(answer)
            news = self._show(answer)
            self._look_at_time(answer.reply)
            if not news and answer.seconds < 1:
                # It does not wait for news, at least not now.
                self._clock.sleep(_seconds(answer.headers.get("Retry-After")))

    def _poll(self) -> Answer:
        is_told_already = self._told and not self._view.err.is_terminal
        waiting = contextlib.nullcontext() if is_told_already else progress(self._view.err, _WAITING)
        self._told = True
        query = {"wait": _WAIT_SECONDS} if self._view.as_json else {"wait": _WAIT_SECONDS, "after": self._seen}
        with waiting:
            url = f"{self._url}{'&' if '?' in self._url else '?'}{urlencode(query)}"
            answer = call("GET", url, patience_seconds=_WAIT_SECONDS + _MARGIN_SECONDS)
        if answer.status == 429 or answer.status >= 500:
            raise Unreachable(f"The function app answered {answer.status}.")
        return answer

    def _be_patient(self, failure: Unreachable, failures: int) -> None:
        if self._clock.now() - self._reached > _AWAY_SECONDS:
            raise NoReply(f"{failure} The run may go on without this command.")
        if failures == 2:
            line(self._view.err, f"{failure} Trying on.")
        # At once the first time: a connection that was lost is not an app that is away.
        self._clock.sleep(min(failures - 1, _PAUSE_SECONDS_MAX))

    def _look_at_time(self, reply: Mapping[str, Any]) -> None:
        """Says that a run is not begun, and gives one up that should have ended."""
        elapsed = self._clock.now() - self._started
        if elapsed > _lasts_seconds(reply) + _OVERDUE_SECONDS:
            raise NoReply("The run should have ended some minutes ago. It may go on without this command.")
        if reply.get("status") == "queued" and elapsed > _QUEUED_SECONDS and not self._told_queued:
            self._told_queued = True
            line(
                self._view.err,
                "The run is still in the queue: others are before it, or nobody carries runs out. Waiting on.",
            )

    def _show(self, answer: Answer) -> bool:
        """Shows the steps that are new, and says whether there are any."""
        steps = _steps(answer.reply, self._seen)
        for step in steps:
            self._seen = max(self._seen, int(step["index"]))
            if self._view.as_json:
                continue
            for held in self._held:
                show_step(self._view.out, held)
            self._held = [step] if may_be_answer(step) else []
            if not self._held:
                show_step(self._view.out, step)
        return bool(steps)

    def _last(self, answer: Answer) -> Answer:
        if self._view.as_json:
            return answer
        steps = [*self._held, *_steps(answer.reply, self._seen)]
        return replace(answer, reply={**answer.reply, "steps": steps})


def _cancel(url: str, headers: Mapping[str, str], view: View, clock: Clock) -> None:
    try:
        answer = call("POST", f"{url}/cancel", patience_seconds=_MARGIN_SECONDS, headers=headers)
        if answer.status == 404:
            # The post may still be on its way.
            clock.sleep(_PAUSE_AFTER_POST_SECONDS)
            answer = call("POST", f"{url}/cancel", patience_seconds=_MARGIN_SECONDS, headers=headers)
        status = answer.status
    except NoReply:
        status = 0
    known = {200: "The run is cancelled: it stops at its next step.", 404: "No run was started."}
    line(view.err, known.get(status, "The run could not be cancelled; it goes on."))


def _address(accepted: Mapping[str, Any]) -> str:
    address = accepted.get("status_url")
    if not isinstance(address, str) or not address.startswith(("http://", "https://")):
        raise NoReply("The server accepted the run and does not say where it is.")
    return address


def _lasts_seconds(reply: Mapping[str, Any]) -> float:
    """From the run's start to its deadline: by the app's clock, which need not be that of this machine."""
    try:
        start, end = (datetime.fromisoformat(str(reply[name]).replace("Z", "+00:00")) for name in _TIMES)
        return (end - start).total_seconds()
    except (KeyError, ValueError, TypeError):
        return _LASTS_SECONDS


def _steps(reply: Mapping[str, Any], after: int) -> list[Mapping[str, Any]]:
    steps = reply.get("steps")
    rows = steps if isinstance(steps, list) else []
    return [
        row for row in rows if isinstance(row, Mapping) and isinstance(row.get("index"), int) and row["index"] > after
    ]


def _seconds(text: str | None) -> float:
    return min(float(text), _PAUSE_SECONDS_MAX) if text and text.isdecimal() else 1.0
