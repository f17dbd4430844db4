"""Every example is of the part of the language that the player knows, and keeps its secrets."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.logic_apps.definition import EXAMPLES, check, read, seconds, walk
from tests.logic_apps.expressions import NotPlayed

WORKFLOWS = sorted(path.parent for path in EXAMPLES.rglob("workflow.json"))
SETTINGS = {name: name.lower() for name in ("RUNS_BASE_URL", "RUNS_FUNCTION_KEY", "RUNS_AUDIENCE", "SERVICE_BUS_QUEUE")}
PARAMETERS = {"baseUrl": {"type": "String"}, "functionKey": {"type": "SecureString"}}


def name_of(folder: Path) -> str:
    return folder.relative_to(EXAMPLES).as_posix()


@pytest.mark.parametrize("folder", WORKFLOWS, ids=name_of)
def test_every_example_can_be_played(folder: Path) -> None:
    workflow = read(folder, SETTINGS)
    assert workflow.edition == ("Standard" if folder.parent.name == "standard" else "Consumption")
    assert list(walk(workflow.definition["actions"]))


@pytest.mark.parametrize("folder", WORKFLOWS, ids=name_of)
def test_no_example_shows_its_key(folder: Path) -> None:
    definition = read(folder, SETTINGS).definition
    for name, action in walk(definition["actions"]):
        if "functionKey" in json.dumps(action.get("inputs")):
            assert "inputs" in action["runtimeConfiguration"]["secureData"]["properties"], name
    key = (
        definition["parameters"].get("functionKey")
        or json.loads((EXAMPLES / "standard" / "parameters.json").read_text())["functionKey"]
    )
    assert key["type"] == "SecureString"
    assert "defaultValue" not in key
    assert key.get("value", "@appsetting('RUNS_FUNCTION_KEY')") == "@appsetting('RUNS_FUNCTION_KEY')"


@pytest.mark.parametrize("folder", WORKFLOWS, ids=name_of)
def test_every_post_of_an_example_has_a_key_against_repetition(folder: Path) -> None:
    posts = 0
    for name, action in walk(read(folder, SETTINGS).definition["actions"]):
        inputs = action.get("inputs", {})
        for request in (inputs, inputs.get("subscribe", {}), inputs.get("unsubscribe", {})):
            if request.get("method") == "POST":
                posts += 1
                assert "Idempotency-Key" in request["headers"], name
    assert posts > 0


def test_connections_of_the_standard_app_are_those_that_its_workflows_use() -> None:
    connections = json.loads((EXAMPLES / "standard" / "connections.json").read_text())
    provided = connections["serviceProviderConnections"]
    used = {}
    for folder in (EXAMPLES / "standard").iterdir():
        if folder.is_dir():
            definition = read(folder, SETTINGS).definition
            for row in [*definition["triggers"].values(), *(action for _, action in walk(definition["actions"]))]:
                if row["type"] == "ServiceProvider":
                    configuration = row["inputs"]["serviceProviderConfiguration"]
                    used[configuration["connectionName"]] = configuration["serviceProviderId"]
    assert used == {name: row["serviceProvider"]["id"] for name, row in provided.items()}


def example() -> dict[str, Any]:
    whole = json.loads((EXAMPLES / "ask-with-key" / "workflow.json").read_text())
    definition: dict[str, Any] = whole["definition"]
    return definition


def edited(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    definition = copy.deepcopy(example())
    edit(definition)
    return definition


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "field of an action": lambda row: row["actions"]["Ask"].update(trackedProperties={}),
    "field of its inputs": lambda row: row["actions"]["Ask"]["inputs"].update(cookie="x"),
    "type": lambda row: row["actions"]["Ask"].update(type="Until"),
    "operation option": lambda row: row["actions"]["Ask"].update(operationOptions="DisableAutomaticDecompression"),
    "configuration": lambda row: row["actions"]["Ask"]["runtimeConfiguration"].update(contentTransfer={}),
    "secured part": lambda row: row["actions"]["Ask"]["runtimeConfiguration"]["secureData"]["properties"].append("x"),
    "status": lambda row: row["actions"]["Answer"]["runAfter"].update(Check_the_outcome=["Done"]),
    "limit": lambda row: row["actions"]["Ask"]["limit"].update(count=3),
    "duration": lambda row: row["actions"]["Ask"]["limit"].update(timeout="1h"),
    "function": lambda row: row["actions"]["Ask"]["inputs"].update(body="@utcNow()"),
    "parameter": lambda row: row["actions"]["Ask"]["inputs"].update(uri="@parameters('url')"),
    "trigger": lambda row: row["triggers"].update(Recurrence={"type": "Recurrence"}),
    "outputs": lambda row: row["outputs"].update(answer={}),
    "schema": lambda row: row.update({"$schema": "other"}),
    "missing field": lambda row: row["actions"]["Ask"].pop("runAfter"),
    "loop with an end": lambda row: row["actions"].update(
        Loop={
            "type": "Foreach",
            "runAfter": {},
            "foreach": "@triggerBody()",
            "actions": {"End": {"type": "Terminate", "runAfter": {}, "inputs": {"runStatus": "Failed"}}},
        }
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_unknown_parts_of_a_definition_are_refused(edit: Callable[[dict[str, Any]], object]) -> None:
    check(example(), PARAMETERS)
    with pytest.raises(NotPlayed):
        check(edited(edit), PARAMETERS)


@pytest.mark.parametrize(("text", "expected"), [("PT7S", 7), ("PT1H", 3600), ("P1DT2M", 86520)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
