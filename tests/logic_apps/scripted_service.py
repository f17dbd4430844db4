"""A service that answers as a test says, and the smallest workflows that call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.logic_apps.clock import StoppedClock
from tests.logic_apps.definition import SCHEMA, Workflow
from tests.logic_apps.player import Player
from tests.logic_apps.wire import Answer, NoAnswer, Sent
from tests.logic_apps.workflow_run import WorkflowRun

URL = "http://app.invalid/api/runs"
DONE = Answer(200, {"content-type": "application/json"}, b'{"status": "completed"}')


class Service:
    """Answers the requests in turn; the last answer repeats. None is no answer."""

    def __init__(self, *answers: Answer | None) -> None:
        self._answers = list(answers)
        self.got: list[Sent] = []
        self.patience: list[float] = []

    def __call__(self, request: Sent, timeout_seconds: float) -> Answer:
        self.got.append(request)
        self.patience.append(timeout_seconds)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise NoAnswer
        return answer


def accepted(retry_after: str | None = "5", location: str = "http://app.invalid/api/runs/1?token=t") -> Answer:
    headers = {"location": location, **({"retry-after": retry_after} if retry_after else {})}
    return Answer(202, {"content-type": "application/json", **headers}, b"{}")


def workflow(
    actions: Mapping[str, Any], edition: str = "Consumption", trigger: Mapping[str, Any] | None = None
) -> Workflow:
    request = {"type": "Request", "kind": "Http", "inputs": {}}
    definition = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {},
        "triggers": {"manual": {**request, **(trigger or {})}},
        "actions": actions,
        "outputs": {},
    }
    return Workflow("flow", edition, definition)


def http(inputs: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "Http", "runAfter": {}, "inputs": {"method": "POST", "uri": URL, **(inputs or {})}, **more}


def play(
    service: Service, action: Mapping[str, Any], clock: StoppedClock | None = None, edition: str = "Consumption"
) -> WorkflowRun:
    player = Player(workflow({"Ask": action}, edition), {}, clock=clock or StoppedClock(), transport=service)
    (run,) = player.fire({})
    return run
