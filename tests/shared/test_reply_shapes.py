"""What callers get has the shape that the documents tell, to the last field."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from shared import api, errors, run_api, settings
from shared.chat import ChatOutcome
from shared.chat_reply import encoded, outcome_body, problem_body
from shared.harvest import Harvest, MadeFile, MadePicture
from shared.openapi import openapi
from shared.run_links import RunLinks
from shared.run_store import RunStore
from shared.runs import Callback
from shared.session_wire import Picture, SessionFile
from shared.settings import Settings
from shared.steps import Step, Usage
from tests.memory_storage import MemoryStorage

HEADERS = {
    "host": "localhost:7071",
    "content-type": "application/json",
    "x-ms-client-principal-idp": "aad",
    "x-ms-client-principal-id": "anna",
}
CALLBACK = "https://prod-01.westeurope.logic.azure.com/workflows/w?sig=secret"
STEPS = (Step(1, "CodeWriter", "code"), Step(2, "CodeExecutor", "42", 0, ("picture-1.png",)))
USAGE = Usage("m", 1, 2, 3)
MADE = Harvest(
    (MadePicture("picture-1.png", Picture("image/png", b"1")),),
    (MadeFile(SessionFile("large.csv", 9, "text/csv", "")), MadeFile(SessionFile("a.csv", 1, "text/csv", ""), b"2")),
    ("One file is over the limit.",),
)
OUTCOME = ChatOutcome("s", "completed", "42", STEPS, MADE, USAGE, [{"content": "x"}], {"total": 0})
PROBLEM = problem_body(errors.PoolFull())


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    settings.current.cache_clear()
    yield
    settings.current.cache_clear()


@pytest.fixture
def store() -> RunStore:
    return RunStore(MemoryStorage())


def faults(name: str, body: bytes) -> list[str]:
    """Where a body differs from its shape; a field that the shape does not name is one too."""
    components = copy.deepcopy(openapi(Settings())["components"])
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    validator = OAS31Validator({"$ref": f"#/components/schemas/{name}", "components": components})
    return [error.message for error in validator.iter_errors(json.loads(body))]


def posted(store: RunStore, **fields: Any) -> api.Reply:
    body = json.dumps({"message": "x", **fields}).encode()
    return run_api.create(api.Request("POST", HEADERS, {}, body), store)


def followed(store: RunStore, run_id: str) -> api.Reply:
    query = {"token": RunLinks("", store.secret()).token(run_id)}
    return asyncio.run(run_api.get(api.Request("GET", HEADERS, query, route={"run_id": run_id}), store))


def listed(store: RunStore, **query: str) -> api.Reply:
    return run_api.recent(api.Request("GET", HEADERS, query), store)


def test_a_run_has_its_shape_from_the_post_to_the_end(store: RunStore) -> None:
    accepted = posted(store, callback_url=CALLBACK)
    assert faults("AcceptedRun", accepted.body) == []
    run_id = json.loads(accepted.body)["run_id"]
    assert faults("RunProgress", followed(store, run_id).body) == []
    store.change(run_id, lambda run: replace(run, status="running", steps=STEPS, usage=USAGE, problem=PROBLEM))
    waiting = followed(store, run_id)
    assert (waiting.status, faults("RunProgress", waiting.body)) == (202, [])
    store.save_reply(run_id, encoded(outcome_body(OUTCOME)))
    callback = Callback(CALLBACK, "delivered", 2, 202)
    store.change(run_id, lambda run: replace(run, status="completed", problem=None, callback=callback))
    ended = followed(store, run_id)
    assert (ended.status, faults("EndedRun", ended.body)) == (200, [])
    assert json.loads(ended.body)["warnings"]


@pytest.mark.parametrize(
    "values", [{"status": "failed", "problem": PROBLEM, "steps": STEPS}, {"status": "cancelled"}], ids=str
)
def test_a_run_that_ended_without_a_reply_has_its_shape(store: RunStore, values: dict[str, Any]) -> None:
    run_id = json.loads(posted(store).body)["run_id"]
    store.change(run_id, lambda run: replace(run, **values))
    assert faults("EndedRun", followed(store, run_id).body) == []


@pytest.mark.parametrize("authentication", ["true", ""])
def test_a_list_has_its_shape_whether_callers_are_told_apart_or_not(
    store: RunStore, authentication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", authentication)
    for _ in range(2):
        posted(store)
    first = listed(store, limit="1")
    (row,) = json.loads(first.body)["runs"]
    assert ("status_url" in row) is bool(authentication)
    last = listed(store, limit="1", continuation=json.loads(first.body)["continuation"])
    assert (faults("RunList", first.body), faults("RunList", last.body)) == ([], [])


def test_a_chats_reply_a_problem_and_the_apps_health_have_theirs() -> None:
    assert faults("ChatReply", encoded(outcome_body(OUTCOME))) == []
    for error in (errors.PoolFull(), errors.InvalidRequest("message_empty", "It is empty.", field="message")):
        assert faults("Problem", api.problem(error).body) == []
    assert faults("Health", api.health(api.Request("GET", {}, {})).body) == []


def test_a_field_that_is_missing_or_not_named_is_a_fault() -> None:
    assert len(faults("Health", b'{"status": "alive"}')) == 1
    assert len(faults("Health", b'{"status": "alive", "version": "1", "more": 1}')) == 1
