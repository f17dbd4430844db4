"""The player's order of actions, its loops, branches and triggers."""

from __future__ import annotations

import json

import pytest

from tests.logic_apps.clock import StoppedClock
from tests.logic_apps.player import Player
from tests.logic_apps.scripted_service import DONE, Service, http, workflow
from tests.logic_apps.wire import Answer, Sent


def test_actions_follow_each_other_by_their_statuses() -> None:
    refused = http({"uri": "http://app.invalid/refused"})
    actions = {
        "Ask": refused,
        "After_success": http(runAfter={"Ask": ["Succeeded"]}),
        "After_failure": http(runAfter={"Ask": ["Failed", "TimedOut"]}),
        "After_nothing": http(runAfter={"After_success": ["Skipped"], "After_failure": ["Succeeded"]}),
    }

    def service(request: Sent, timeout_seconds: float) -> Answer:
        return Answer(400, {}, b"") if request.url.endswith("refused") else DONE

    (run,) = Player(workflow(actions), {}, clock=StoppedClock(), transport=service).fire({})
    assert {name: result.status for name, result in run.results.items()} == {
        "Ask": "Failed",
        "After_success": "Skipped",
        "After_failure": "Succeeded",
        "After_nothing": "Succeeded",
    }
    assert run.status == "Succeeded"


def test_split_on_starts_a_run_for_each_element() -> None:
    service = Service(DONE)
    actions = {"Ask": http({"body": {"id": "@triggerBody()?['id']"}})}
    player = Player(
        workflow(actions, trigger={"splitOn": "@triggerBody()"}), {}, clock=StoppedClock(), transport=service
    )
    runs = player.fire([{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert len({run.name for run in runs}) == 3
    assert sorted(json.loads(row.body)["id"] for row in service.got) == ["a", "b", "c"]


def test_a_loops_actions_see_their_own_item_and_results() -> None:
    def echo(request: Sent, timeout_seconds: float) -> Answer:
        return Answer(200, {"content-type": "application/json"}, request.body)

    keep = {
        "type": "AppendToArrayVariable",
        "runAfter": {"Ask": ["Succeeded"]},
        "inputs": {"name": "seen", "value": "@concat(items('Each')?['id'], '=', body('Ask')?['id'])"},
    }
    actions = {
        "Start": {
            "type": "InitializeVariable",
            "runAfter": {},
            "inputs": {"variables": [{"name": "seen", "type": "array", "value": []}]},
        },
        "Each": {
            "type": "Foreach",
            "runAfter": {"Start": ["Succeeded"]},
            "foreach": "@triggerBody()",
            "actions": {"Ask": http({"body": {"id": "@items('Each')?['id']"}}), "Keep": keep},
        },
    }
    (run,) = Player(workflow(actions), {}, clock=StoppedClock(), transport=echo).fire(
        [{"id": str(n)} for n in range(30)]
    )
    assert sorted(run.variables["seen"]) == sorted(f"{n}={n}" for n in range(30))


@pytest.mark.parametrize(("answer", "status"), [("completed", "Succeeded"), ("failed", "Failed")])
def test_a_branch_may_end_the_run(answer: str, status: str) -> None:
    end = {
        "type": "Terminate",
        "runAfter": {},
        "inputs": {"runStatus": "Failed", "runError": {"code": "@{body('Ask')?['status']}", "message": "no"}},
    }
    actions = {
        "Ask": http(),
        "Check": {
            "type": "If",
            "runAfter": {"Ask": ["Succeeded"]},
            "expression": {"and": [{"equals": ["@body('Ask')?['status']", "completed"]}]},
            "actions": {},
            "else": {"actions": {"Fail": end}},
        },
    }
    service = Service(Answer(200, {"content-type": "application/json"}, json.dumps({"status": answer}).encode()))
    (run,) = Player(workflow(actions), {}, clock=StoppedClock(), transport=service).fire({})
    assert run.status == status
    assert run.error == ({} if status == "Succeeded" else {"code": "failed", "message": "no"})
