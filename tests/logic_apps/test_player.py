"""The player keeps to what is documented of Logic Apps, against a server that answers as a test says."""

from __future__ import annotations

import json
import random
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.logic_apps.callbacks import HOST, CallbackListener, listening
from tests.logic_apps.clock import StoppedClock
from tests.logic_apps.definition import SCHEMA, Workflow
from tests.logic_apps.expressions import NotPlayed
from tests.logic_apps.http_calls import RetryPolicy
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


@pytest.mark.parametrize(
    "answer", [Answer(408, {}, b""), Answer(429, {}, b""), Answer(500, {}, b""), Answer(503, {}, b""), None]
)
def test_a_request_that_fails_for_now_is_sent_four_times_more(answer: Answer | None) -> None:
    service, clock = Service(answer), StoppedClock()
    run = play(service, http(), clock)
    assert run.results["Ask"].status == run.status == "Failed"
    assert len(service.got) == 5
    assert len(clock.slept) == 4
    assert all(5 <= wait <= 45 for wait in clock.slept)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_a_request_that_is_refused_is_not_sent_again(status: int) -> None:
    service = Service(Answer(status, {}, b""))
    assert play(service, http()).status == "Failed"
    assert len(service.got) == 1


def test_a_retry_is_the_same_action_with_the_same_body_and_another_tracking_id() -> None:
    service = Service(None, DONE)
    run = play(service, http({"body": {"message": "hi"}, "headers": {"Idempotency-Key": "k"}}))
    first, second = service.got
    assert (run.status, first.body) == ("Succeeded", second.body)
    for name in ("Idempotency-Key", "x-ms-action-tracking-id", "x-ms-workflow-run-id", "x-ms-workflow-operation-name"):
        assert first.headers[name] == second.headers[name]
    assert first.headers["x-ms-tracking-id"] != second.headers["x-ms-tracking-id"]
    assert first.headers["x-ms-client-request-id"] != second.headers["x-ms-client-request-id"]
    assert second.headers["x-ms-workflow-run-id"] == run.name


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        ({"type": "none"}, 1),
        ({"type": "fixed", "count": 2, "interval": "PT30S"}, 3),
        ({"type": "exponential", "count": 6, "interval": "PT7S"}, 7),
    ],
)
def test_a_policy_of_the_definition_counts(policy: dict[str, Any], attempts: int) -> None:
    service, clock = Service(None), StoppedClock()
    play(service, http({"retryPolicy": policy}), clock)
    assert len(service.got) == attempts
    if policy["type"] == "fixed":
        assert clock.slept == [30, 30]


def test_exponential_waits_grow_up_to_their_bound() -> None:
    policy, draw = RetryPolicy(), random.Random(1)  # noqa: S311  # waits, not secrets
    assert all(policy.wait(1, draw) <= 7.5 for _ in range(50))
    assert all(7.5 <= policy.wait(2, draw) <= 15 for _ in range(50))
    assert all(30 <= policy.wait(4, draw) <= 45 for _ in range(50))
    assert policy.wait(10, draw) == 45


@pytest.mark.parametrize(("edition", "limit"), [("Consumption", 120), ("Standard", 225)])
def test_one_request_has_the_editions_time(edition: str, limit: float) -> None:
    class Clock(StoppedClock):
        def allowance(self, seconds: float) -> float:
            return seconds

    service = Service(DONE)
    play(service, http(), Clock(), edition)
    assert service.patience == [limit]


def test_a_202_is_polled_at_its_location_until_another_status_comes() -> None:
    service, clock = Service(accepted("5"), accepted("7", "http://app.invalid/other"), DONE), StoppedClock()
    run = play(service, http({"headers": {"x-functions-key": "k"}, "body": {"message": "hi"}}), clock)
    assert [(row.method, row.url) for row in service.got[1:]] == [
        ("GET", "http://app.invalid/api/runs/1?token=t"),
        ("GET", "http://app.invalid/other"),
    ]
    assert clock.slept == [5, 7]
    assert run.results["Ask"].outputs["body"] == {"status": "completed"}


def test_a_poll_without_retry_after_waits_twenty_seconds() -> None:
    clock = StoppedClock()
    play(Service(accepted(None), DONE), http(), clock)
    assert clock.slept == [20]


def test_polls_bring_the_authentication_and_none_of_the_authors_headers() -> None:
    service = Service(accepted(), DONE)
    authentication = {"type": "ManagedServiceIdentity", "audience": "api://agents"}
    play(service, http({"authentication": authentication, "headers": {"x-functions-key": "k", "Idempotency-Key": "i"}}))
    first, poll = service.got
    assert first.headers["Authorization"] == poll.headers["Authorization"] == "Bearer token-for-api://agents"
    assert {"x-functions-key", "Idempotency-Key"} <= set(first.headers)
    assert not {"x-functions-key", "Idempotency-Key"} & set(poll.headers)
    assert poll.headers["x-ms-action-tracking-id"] == first.headers["x-ms-action-tracking-id"]
    assert poll.body == b""


def test_a_poll_that_fails_for_now_is_sent_again() -> None:
    service = Service(accepted(), Answer(500, {}, b""), None, accepted(), DONE)
    assert play(service, http()).status == "Succeeded"
    assert [row.method for row in service.got] == ["POST", "GET", "GET", "GET", "GET"]


@pytest.mark.parametrize("status", [302, 404])
def test_whatever_else_ends_the_polling_ends_the_action(status: int) -> None:
    service = Service(accepted(), Answer(status, {"location": URL}, b""))
    assert play(service, http()).status == "Failed"
    assert len(service.got) == 2


def test_a_location_that_is_not_absolute_is_an_error() -> None:
    with pytest.raises(NotPlayed, match="not absolute"):
        play(Service(accepted(location="/api/runs/1")), http())


def test_the_pattern_can_be_switched_off() -> None:
    service = Service(accepted())
    run = play(service, http(operationOptions="DisableAsyncPattern"))
    assert (run.status, run.results["Ask"].outputs["statusCode"], len(service.got)) == ("Succeeded", 202, 1)


def test_an_actions_own_limit_ends_its_polls() -> None:
    clock = StoppedClock()
    run = play(Service(accepted("20")), http(limit={"timeout": "PT1M"}), clock)
    assert (run.results["Ask"].status, run.status) == ("TimedOut", "Failed")
    assert sum(clock.slept) == 40


def test_headers_that_logic_apps_removes_do_not_leave() -> None:
    service = Service(DONE)
    author = {
        "Accept": "text/plain",
        "Accept-Charset": "utf-8",
        "Content-Length": "3",
        "Content-Language": "en",
        "Content-Type": "text/plain",
        "Cookie": "a=b",
        "Host": "elsewhere.invalid",
        "Origin": "https://elsewhere.invalid",
        "Transfer-Encoding": "chunked",
        "X-Own": "1",
    }
    play(service, http({"headers": author, "body": "text"}))
    left = {name for name in author if name in service.got[0].headers}
    assert left == {"Content-Type", "X-Own"}


def test_headers_that_logic_apps_sends() -> None:
    service = Service(DONE)
    play(service, http({"body": {}}))
    headers = service.got[0].headers
    assert headers["User-Agent"].startswith("azure-logic-apps/1.0,(workflow ")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert re.fullmatch(r"\d{26}CU21", headers["x-ms-workflow-run-id"])
    assert headers["x-ms-workflow-operation-name"] == "Ask"
    assert headers["x-ms-client-tracking-id"] == headers["x-ms-workflow-run-id"]


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


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[CallbackListener]:
    with listening(tmp_path) as running:
        yield running


def call_back(listener: CallbackListener, url: str, body: Any) -> int:
    """Posts a callback as a service would, by the URL's path and query."""
    context = ssl.create_default_context(cafile=str(listener.certificate))
    # The name in the URL leads to Azure; the certificate is checked for it all the same by tests of the whole stack.
    context.check_hostname = False
    local = url.replace(HOST, "127.0.0.1")
    request = Request(local, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
    with urlopen(request, timeout=10, context=context) as reply:
        status: int = reply.status
        return status


WAIT = {
    "type": "HttpWebhook",
    "runAfter": {},
    "limit": {"timeout": "PT1H"},
    "inputs": {
        "subscribe": {"method": "POST", "uri": URL, "body": {"callback_url": "@{listCallbackUrl()}"}},
        "unsubscribe": {"method": "POST", "uri": f"{URL}/cancel", "headers": {"Idempotency-Key": "k"}},
    },
}


def subscribing(
    listener: CallbackListener, service: Callable[[Sent], Answer], **more: Any
) -> tuple[WorkflowRun, list[Sent]]:
    got: list[Sent] = []

    def transport(request: Sent, timeout_seconds: float) -> Answer:
        got.append(request)
        return service(request)

    clock = StoppedClock(more.pop("patience", 5.0))
    player = Player(workflow({"Wait": {**WAIT, **more}}), {}, clock=clock, transport=transport, callbacks=listener)
    (run,) = player.fire({})
    return run, got


def test_a_webhook_action_waits_for_its_callback_and_unsubscribes_after_it(listener: CallbackListener) -> None:
    def service(request: Sent) -> Answer:
        if request.url == URL:
            assert call_back(listener, json.loads(request.body)["callback_url"], {"result": "42"}) == 202
        return Answer(200, {}, b"")

    run, got = subscribing(listener, service)
    assert run.results["Wait"].outputs["body"] == {"result": "42"}
    assert [row.url for row in got] == [URL, f"{URL}/cancel"]


def test_a_callback_is_asked_for_by_a_signed_url_of_logic_apps(listener: CallbackListener) -> None:
    url = listener.open("flow", "0858CU21", "Wait")
    assert re.fullmatch(
        rf"https://prod-17\.westeurope\.logic\.azure\.com:{listener.port}/workflows/flow/runs/0858CU21/actions/Wait/run"
        r"\?api-version=2016-10-01&sp=%2Fruns%2F0858CU21%2Factions%2FWait%2Frun&sv=1\.0&sig=.+",
        url,
    )


def test_a_webhook_action_that_nobody_calls_back_times_out_and_unsubscribes(listener: CallbackListener) -> None:
    run, got = subscribing(listener, lambda request: Answer(200, {}, b""), patience=0.05)
    assert (run.results["Wait"].status, run.status) == ("TimedOut", "Failed")
    assert [row.url for row in got] == [URL, f"{URL}/cancel"]


def test_a_refused_subscription_fails_the_action_without_unsubscribing(listener: CallbackListener) -> None:
    run, got = subscribing(listener, lambda request: Answer(400, {}, b""))
    assert (run.status, len(got)) == ("Failed", 1)


def test_a_subscription_must_not_be_answered_like_an_asynchronous_action(listener: CallbackListener) -> None:
    with pytest.raises(NotPlayed, match="202 and a Location"):
        subscribing(listener, lambda request: accepted())


def test_a_cancelled_run_unsubscribes(listener: CallbackListener) -> None:
    service = Service(Answer(200, {}, b""))
    player = Player(workflow({"Wait": WAIT}), {}, clock=StoppedClock(30), transport=service, callbacks=listener)
    (run,) = player.start({})
    assert run.waiting.wait(10)
    run.cancel()
    player.finish(run)
    assert run.status == "Cancelled"
    assert [row.url for row in service.got] == [URL, f"{URL}/cancel"]


def test_a_callback_for_a_run_that_is_gone_finds_nothing(listener: CallbackListener) -> None:
    assert listener.take("/workflows/flow/runs/gone/actions/Wait/run?sig=x", {}, b"{}") == 404


def test_a_callback_can_be_refused_for_now(listener: CallbackListener) -> None:
    path = listener.open("flow", "run", "Wait").partition(str(listener.port))[2]
    listener.faults[:] = [503]
    assert [listener.take(path, {}, b"{}") for _ in range(2)] == [503, 202]
