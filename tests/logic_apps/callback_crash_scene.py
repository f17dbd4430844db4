"""Kills the functions host between a run's end and the record of its callback; prints what came of it.

Runs where callbacks reach the player: see `public_network`. The tests are in tests/integration/test_run_crashes.py.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests

from bench.counted_model import CountedModel, task_message, task_name
from bench.run_soak import TURNS, counted_stack, marking_script, marks_of
from local.stack import HOST as FUNCTIONS_HOST
from local.stack import Stack
from tests.logic_apps.callbacks import CallbackListener, listening
from tests.logic_apps.public_network import ADDRESS

LEASE_SECONDS = 5
BOUND_SECONDS = 150


class Gate:
    """Answers callbacks until the host is killed, and says when both runs have sent theirs."""

    def __init__(self, refused: str, unanswered: str) -> None:
        self._refused = refused
        self._missing = {refused, unanswered}
        self.all_came = threading.Event()
        self.killed = threading.Event()

    def answer(self, path: str) -> int | None:
        """What a callback is answered with: refused for now, or taken without the host living to see it."""
        if self.killed.is_set():
            return None
        task = path.partition("/runs/")[2].partition("/")[0]
        self._missing.discard(task)
        if not self._missing:
            self.all_came.set()
        if task == self._refused:
            return 503
        self.killed.wait(BOUND_SECONDS)
        return None


def played(stack: Stack, model: CountedModel, listener: CallbackListener) -> dict[str, Any]:
    """Two runs whose host is killed once the callbacks of both have come in: one refused, one without its answer."""
    refused, unanswered = task_name(1), task_name(2)
    gate = Gate(refused, unanswered)
    listener.answering = gate.answer
    urls = {}
    for task in (refused, unanswered):
        body = {"message": task_message(task), "callback_url": listener.open("flow", task, "Wait")}
        accepted = requests.post(f"{stack.url}/api/runs", json=body, timeout=BOUND_SECONDS).json()
        urls[task] = accepted["status_url"]
    if not gate.all_came.wait(BOUND_SECONDS):
        raise TimeoutError("the callbacks do not come")
    stack.kill_part(FUNCTIONS_HOST)
    gate.killed.set()
    stack.start_part(FUNCTIONS_HOST)
    told = {
        task: {**_recorded(url), "calls": model.calls(task, TURNS), **_arrived(listener, task)}
        for task, url in urls.items()
    }
    return {"before it is taken": told[refused], "before its answer arrives": told[unanswered]}


def _recorded(status_url: str) -> dict[str, Any]:
    deadline = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < deadline:
        reply = requests.get(status_url, timeout=BOUND_SECONDS).json()
        if reply["callback"]["state"] != "pending":
            break
        time.sleep(0.1)
    return {"status": reply["status"], "callback": reply["callback"], "marks": marks_of(reply)}


def _arrived(listener: CallbackListener, task: str) -> dict[str, Any]:
    calls = [call for call in listener.calls if f"/runs/{task}/" in call.path]
    return {"statuses": [call.status for call in calls], "ids": sorted({call.headers["webhook-id"] for call in calls})}


def main(folder: Path) -> None:
    """Plays it and prints what came of it as JSON."""
    model = CountedModel(marking_script(0))
    with listening(folder, ADDRESS, 443) as listener:
        environment = {"SSL_CERT_FILE": str(listener.certificate)}
        with counted_stack(model, lease_seconds=LEASE_SECONDS, host_env=environment) as stack:
            told = played(stack, model, listener)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
