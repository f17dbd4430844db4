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


def played(
    stack: Stack, model: CountedModel, listener: CallbackListener, task: str, refuse: list[int]
) -> dict[str, Any]:
    """One run whose host is killed when its callback first comes in.

    Args:
        stack: with the host.
        model: of the stack.
        listener: for the callback.
        task: its name.
        refuse: what the listener answers first; nothing for an answer that the host does not live to see.
    """
    url = listener.open("flow", task, "Wait")
    listener.faults[:] = refuse
    came = threading.Event()
    killed = threading.Event()

    def kill() -> None:
        if not came.is_set():
            came.set()
            stack.kill_part(FUNCTIONS_HOST)
            killed.set()

    listener.before_answer = kill
    body = {"message": task_message(task), "callback_url": url}
    accepted = requests.post(f"{stack.url}/api/runs", json=body, timeout=BOUND_SECONDS).json()
    if not killed.wait(BOUND_SECONDS):
        raise TimeoutError("no callback came")
    stack.start_part(FUNCTIONS_HOST)
    return {**_recorded(accepted["status_url"]), "calls": model.calls(task, TURNS), **_arrived(listener, task)}


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
    return {"arrived": len(calls), "ids": sorted({call.headers["webhook-id"] for call in calls})}


def main(folder: Path) -> None:
    """Plays both moments and prints them as JSON."""
    model = CountedModel(marking_script(0))
    with listening(folder, ADDRESS, 443) as listener:
        environment = {"SSL_CERT_FILE": str(listener.certificate)}
        with counted_stack(model, lease_seconds=LEASE_SECONDS, host_env=environment) as stack:
            told = {
                "before it arrives": played(stack, model, listener, task_name(1), [503]),
                "before its answer arrives": played(stack, model, listener, task_name(2), []),
            }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
