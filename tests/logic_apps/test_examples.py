"""The example workflows, read from their files and played against the real app over HTTP."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.logic_apps.conftest import App, app_of
from tests.logic_apps.definition import Json

QUESTION = {"question": "What is 6 * 7?"}
POST_RUNS = ("POST", "/api/runs")


def event(number: int) -> dict[str, Any]:
    """An event as Event Grid delivers it."""
    return {
        "id": f"831e1650-001e-001b-66ab-eeb76e06963{number}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "subject": f"/blobServices/default/containers/in/blobs/{number}.csv",
        "data": {"contentLength": 3 * number},
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": "2026-06-26T18:41:00.9584103Z",
    }


class ServiceBus:
    """Notes which messages were completed, and how often the app had taken the message's own run until then."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.completed: list[str] = []
        self.recorded_before: list[int] = []

    def __call__(self, action: str, inputs: Json) -> Any:
        assert action == "Complete_the_message"
        token = inputs["queries"]["lockToken"] if "queries" in inputs else inputs["parameters"]["lockToken"]
        self.completed.append(token)
        own = f"%20{token.removeprefix('lock-')}"
        posts = self._app.proxy.requests(*POST_RUNS)
        taken = [post for post in posts if post.headers["idempotency-key"].endswith(own) and post.status == 202]
        self.recorded_before.append(len(taken))


def messages(edition: str, *numbers: int) -> list[dict[str, Any]]:
    texts = {number: f"What is {number} * 7?" for number in numbers}
    if edition == "standard/service-bus":
        return [
            {"messageId": f"standard {n}", "lockToken": f"lock-{n}", "contentData": text} for n, text in texts.items()
        ]
    return [
        {
            "MessageId": f"consumption {n}",
            "LockToken": f"lock-{n}",
            "ContentData": base64.b64encode(text.encode()).decode(),
        }
        for n, text in texts.items()
    ]


@pytest.mark.parametrize("example", ["ask-with-key", "standard/ask-with-key"])
def test_a_question_is_answered_by_polling(app: App, example: str) -> None:
    (run,) = app.player(example).fire(QUESTION)
    assert (run.status, run.error) == ("Succeeded", {})
    assert run.response is not None
    assert "42" in run.response["body"]["answer"]
    assert run.response["body"]["session_id"]
    assert [row.status for row in run.sent("Ask")] == [202]
    polls = run.sent("Ask", "GET")
    assert {row.status for row in polls[:-1]} <= {202}
    assert polls[-1].status == 200
    assert not any("x-functions-key" in row.request.headers for row in polls)


def test_a_lost_answer_makes_no_second_run(app: App) -> None:
    before = app.runs()
    app.proxy.lose = lambda number, method, path: len(app.proxy.requests(*POST_RUNS)) == 1 and method == "POST"
    (run,) = app.player("ask-with-key").fire(QUESTION)
    assert run.status == "Succeeded"
    assert [row.status for row in run.sent("Ask")] == [0, 202]
    assert len(app.proxy.requests(*POST_RUNS)) == 2
    assert len(app.runs() - before) == 1


def test_a_post_that_is_delivered_twice_at_once_makes_one_run(app: App) -> None:
    before = app.runs()
    app.proxy.twice = lambda method, path: method == "POST"
    (run,) = app.player("ask-with-key").fire(QUESTION)
    assert run.status == "Succeeded"
    assert [row.status for row in app.proxy.requests(*POST_RUNS)] == [202, 202]
    assert len(app.runs() - before) == 1


def test_lost_polls_are_sent_again(app: App) -> None:
    app.proxy.lose = lambda number, method, path: method == "GET" and len(app.proxy.requests("GET", "/api/runs/")) == 1
    (run,) = app.player("ask-with-key").fire(QUESTION)
    assert run.status == "Succeeded"
    assert run.sent("Ask", "GET")[0].status == 0


def test_two_workflow_runs_are_two_runs(app: App) -> None:
    before = app.runs()
    player = app.player("ask-with-key")
    first, second = player.fire(QUESTION) + player.fire(QUESTION)
    assert (first.status, second.status) == ("Succeeded", "Succeeded")
    assert len(app.runs() - before) == 2


def test_events_that_come_together_and_again_are_one_run_each(app: App) -> None:
    before = app.runs()
    given = {
        "subscriptionId": "s",
        "storageAccountId": "/subscriptions/s/storage",
        "$connections": {"azureeventgrid": {"connectionId": "/connections/azureeventgrid"}},
    }
    player = app.player("event-grid", given)
    assert player.trigger_inputs()["path"] == (
        "/subscriptions/s/providers/Microsoft.Storage.StorageAccounts/resource/eventSubscriptions"
    )
    first = player.fire([event(1), event(2), event(3)])
    again = player.fire([event(2)])
    assert [run.status for run in (*first, *again)] == ["Succeeded"] * 4
    assert len(app.runs() - before) == 3


@pytest.mark.parametrize("example", ["service-bus", "standard/service-bus"])
def test_messages_are_let_go_once_their_runs_are_recorded(app: App, example: str) -> None:
    before = app.runs()
    bus = ServiceBus(app)
    connections = {
        "$connections": {"servicebus": {"connectionId": "/connections/servicebus"}},
        "queueName": "questions",
    }
    given: Mapping[str, Any] = {} if example.startswith("standard") else connections
    player = app.player(example, given, connector=bus)
    first = player.fire(messages(example, 5, 6))
    again = player.fire(messages(example, 6))
    assert [run.status for run in (*first, *again)] == ["Succeeded"] * 3
    assert sorted(bus.completed) == ["lock-5", "lock-6", "lock-6"]
    # The second delivery's post comes on top of the first one's.
    assert bus.recorded_before == [1, 1, 2]
    assert len(app.runs() - before) == 2
    answers = {run.results["Get_the_answer"].outputs["body"]["result"] for run in first}
    assert {"35", "42"} <= {number for answer in answers for number in re.findall(r"\d+", answer)}


def test_a_loops_iterations_are_runs_of_their_own(app: App) -> None:
    before = app.runs()
    questions = [{"id": f"question {n}", "question": f"What is {n} * 7?"} for n in range(1, 7)]
    app.proxy.twice = lambda method, path: method == "POST"
    (run,) = app.player("loop").fire({"questions": questions})
    assert (run.status, run.error) == ("Succeeded", {})
    assert run.response is not None
    answers = {row["id"]: row["answer"] for row in run.response["body"]}
    assert len(app.runs() - before) == len(answers) == 6
    for n in range(1, 7):
        assert str(7 * n) in re.findall(r"\d+", answers[f"question {n}"])


def test_a_loop_whose_items_share_an_id_fails_and_mixes_nothing_up(app: App) -> None:
    before = app.runs()
    questions = [{"id": "same", "question": f"What is {n} * 7?"} for n in (1, 2)]
    (run,) = app.player("loop").fire({"questions": questions})
    assert run.status == "Failed"
    assert sorted(row.status for row in run.sent("Ask")) == [202, 422]
    assert len(app.runs() - before) == 1


def easy_auth(headers: Mapping[str, str]) -> Mapping[str, str] | int:
    """App Service authentication: nobody without a token, and what callers say of themselves is taken out."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not token.startswith("token-for-api://agents"):
        return 401
    own = {name: value for name, value in headers.items() if not name.startswith("x-ms-client-principal")}
    return {**own, "x-ms-client-principal-id": token, "x-ms-client-principal-idp": "aad"}


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("example", ["ask-with-identity", "standard/ask-with-identity"])
def test_an_identity_signs_the_post_and_the_polls(example: str) -> None:
    with app_of(host_env={"WEBSITE_AUTH_ENABLED": "true"}) as app:
        app.proxy.front = easy_auth
        (run,) = app.player(example, {"audience": "api://agents"}).fire(QUESTION)
        assert (run.status, run.error) == ("Succeeded", {})
        mine = app.runs({"Authorization": "Bearer token-for-api://agents"})
        others = app.runs({"Authorization": "Bearer token-for-api://agents/other"})
    assert len(mine) == 1
    assert not others


@pytest.mark.usefixtures("parts")
def test_a_run_that_fails_fails_its_workflow_with_the_reason() -> None:
    refused = [{"model": "m", "api_type": "anthropic", "api_key": "sk-k"}]
    with app_of(host_env={"OAI_CONFIG_LIST": json.dumps(refused)}) as app:
        (run,) = app.player("ask-with-key").fire(QUESTION)
    assert run.status == "Failed"
    assert run.error["code"] == "failed"
    assert "OAI_CONFIG_LIST" in run.error["message"]
    assert run.response is None


def test_a_wrong_key_fails_the_action_at_once(app: App) -> None:
    (run,) = app.player("ask-with-key", {"functionKey": "wrong"}).fire(QUESTION)
    assert run.status == "Failed"
    assert [row.status for row in run.sent("Ask")] == [401]
