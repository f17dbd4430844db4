"""The player's HTTP action keeps to what is documented of Logic Apps: retries, polls, limits, headers."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from tests.logic_apps.clock import StoppedClock
from tests.logic_apps.expressions import NotPlayed
from tests.logic_apps.http_calls import RetryPolicy
from tests.logic_apps.scripted_service import DONE, URL, Service, accepted, http, play
from tests.logic_apps.wire import Answer


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
