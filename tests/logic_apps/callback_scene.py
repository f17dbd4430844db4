"""Plays the workflows that wait for a callback, in a network where callbacks reach the player; prints what happened.

`python -m tests.logic_apps.public_network tests.logic_apps.callback_scene FOLDER`; see `test_callbacks`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from local.stack import HOST as FUNCTIONS_HOST
from local.stack import Stack
from tests.logic_apps.callbacks import CallbackListener, listening
from tests.logic_apps.clock import FastClock
from tests.logic_apps.conftest import App
from tests.logic_apps.definition import EXAMPLES, read
from tests.logic_apps.faulty_proxy import proxy_to
from tests.logic_apps.player import Player
from tests.logic_apps.public_network import ADDRESS
from tests.logic_apps.workflow_run import WorkflowRun

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUESTION = {"question": "What is 6 * 7?"}
# Long enough to cancel in the middle of it.
MODEL_SECONDS = 1.0


class Scene:
    """What is there for all workflows."""

    def __init__(self, app: App, listener: CallbackListener) -> None:
        self._app = app
        self._listener = listener

    def player(self, example: str) -> Player:
        settings = {
            "RUNS_BASE_URL": self._app.proxy.url,
            "RUNS_FUNCTION_KEY": self._app.key,
            "RUNS_AUDIENCE": "",
            "SERVICE_BUS_QUEUE": "",
        }
        given = {"baseUrl": self._app.proxy.url, "functionKey": self._app.key}
        return Player(read(EXAMPLES / example, settings), given, clock=FastClock(), callbacks=self._listener)

    def told(self, run: WorkflowRun, before: set[str]) -> dict[str, Any]:
        """One workflow run: its outcome, its requests, what was called back, and how many runs it made."""
        calls = [call for call in self._listener.calls if run.name in call.path]
        return {
            "status": run.status,
            "error": dict(run.error),
            "answer": run.response["body"]["answer"] if run.response else None,
            "requests": [[row.request.url.partition("/api/")[2], row.status] for row in run.exchanges],
            "called": [call.status for call in calls],
            "ids": sorted({call.headers.get("webhook-id", "") for call in calls}),
            "signed": [call.headers.get("webhook-signature", "")[:3] for call in calls],
            "statuses": sorted({str(call.body["status"]) for call in calls}),
            "runs": len(self._app.runs() - before),
        }

    def answered(self, example: str) -> dict[str, Any]:
        before = self._app.runs()
        (run,) = self.player(example).fire(QUESTION)
        return self.told(run, before)

    def lost_reply(self) -> dict[str, Any]:
        proxy = self._app.proxy
        passed = len(proxy.requests("POST", "/api/runs"))
        proxy.lose = lambda number, method, path: (
            method == "POST" and len(proxy.requests("POST", "/api/runs")) == passed + 1
        )
        told = self.answered("wait-for-callback")
        proxy.lose = lambda number, method, path: False
        return told

    def busy_listener(self) -> dict[str, Any]:
        self._listener.faults[:] = [503]
        return self.answered("wait-for-callback")

    def cancelled(self) -> dict[str, Any]:
        before = self._app.runs()
        player = self.player("wait-for-callback")
        (run,) = player.start(QUESTION)
        if not run.waiting.wait(60):
            raise TimeoutError("the workflow run does not subscribe")
        run.cancel()
        told = self.told(player.finish(run), before)
        return {**told, "ended": self._ended(before)}

    def _ended(self, before: set[str]) -> list[str]:
        """How the runs since then have ended."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            rows = self._app.rows()
            statuses = [row["status"] for row in rows if row["run_id"] not in before]
            if not {"queued", "running"} & set(statuses):
                return statuses
            time.sleep(0.1)
        raise TimeoutError("a run does not end")


def main(folder: Path) -> None:
    """Plays everything and prints it as JSON."""
    with (
        listening(folder, ADDRESS, 443) as listener,
        Stack(
            host_args=["--enable-auth"],
            model_args=["--latency", str(MODEL_SECONDS)],
            host_env={"SSL_CERT_FILE": str(listener.certificate), "CALLBACK_SECRET": SECRET},
        ) as stack,
        proxy_to(stack.url) as proxy,
    ):
        scene = Scene(App(proxy, str(stack.ready(FUNCTIONS_HOST)["key"])), listener)
        told = {
            "consumption": scene.answered("wait-for-callback"),
            "standard": scene.answered("standard/wait-for-callback"),
            "lost reply": scene.lost_reply(),
            "busy listener": scene.busy_listener(),
            "cancelled": scene.cancelled(),
            "log": stack.log(FUNCTIONS_HOST),
        }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
