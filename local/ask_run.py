"""Asks for a run: starts it, shows its steps as they come, and cancels it when the user interrupts."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
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
_WAITING = "The run goes on; waiting for its next step"


def run(target: Target, body: Mapping[str, Any], view: View) -> Answer:
    """Starts a run and follows it to its end.

    Args:
        target: whom to ask.
        body: what `ask.payload` gave.
        view: where steps are shown; nowhere where it wants JSON.

    Returns:
        The run's last reply, without the steps that were shown; or the reply that refused it.

    Raises:
        UsageError: the target cannot be asked.
        NoReply: nobody answered for too long, or not with JSON.
        KeyboardInterrupt: the user interrupted; the run has been told to stop.
    """
    started = time.monotonic()
    headers = {**target.headers, "Idempotency-Key": uuid.uuid4().hex}
    url = endpoint(target, "runs")
    accepted = call("POST", url, patience_seconds=_ACCEPT_SECONDS, body=body, headers=headers)
    if accepted.status not in (200, 202):
        return accepted
    if not view.as_json:
        show_question(view.out, str(body["message"]))
    try:
        last = _Following(accepted.reply, view).to_the_end()
    except KeyboardInterrupt:
        _cancel(accepted.reply, view)
        raise
    return replace(last, seconds=time.monotonic() - started)


class _Following:
    """Follows one run by its status URL, which needs no key."""

    def __init__(self, accepted: Mapping[str, Any], view: View) -> None:
        self._url = _address(accepted, "status_url")
        self._view = view
        self._seen = 0
        # The last step, while it may still turn out to be the answer.
        self._held: list[Mapping[str, Any]] = []
        self._told = False
        self._reached = time.monotonic()

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
            self._reached = time.monotonic()
            if answer.status != 202:
                return self._last(answer)
            news = self._show(answer)
            if not news and answer.seconds < 1:
                # It does not wait for news, at least not now.
                time.sleep(_seconds(answer.headers.get("Retry-After")))

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
        if time.monotonic() - self._reached > _AWAY_SECONDS:
            raise NoReply(f"{failure} The run may go on without this command.")
        if failures == 2:
            line(self._view.err, f"{failure} Trying on.")
        # At once the first time: a connection that was lost is not an app that is away.
        time.sleep(min(failures - 1, _PAUSE_SECONDS_MAX))

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


def _cancel(accepted: Mapping[str, Any], view: View) -> None:
    try:
        answer = call("POST", _address(accepted, "cancel_url"), patience_seconds=_MARGIN_SECONDS)
        told = answer.status in (200, 202)
    except NoReply:
        told = False
    text = "The run is cancelled: it stops at its next step." if told else "The run could not be cancelled; it goes on."
    line(view.err, text)


def _address(accepted: Mapping[str, Any], name: str) -> str:
    address = accepted.get(name)
    if not isinstance(address, str) or not address.startswith(("http://", "https://")):
        raise NoReply("The server accepted the run and does not say where it is.")
    return address


def _steps(reply: Mapping[str, Any], after: int) -> list[Mapping[str, Any]]:
    steps = reply.get("steps")
    rows = steps if isinstance(steps, list) else []
    return [
        row for row in rows if isinstance(row, Mapping) and isinstance(row.get("index"), int) and row["index"] > after
    ]


def _seconds(text: str | None) -> float:
    return min(float(text), _PAUSE_SECONDS_MAX) if text and text.isdecimal() else 1.0
