"""The player's HTTP Webhook action: subscribed, called back, unsubscribed."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.logic_apps.callbacks import HOST, CallbackListener, listening
from tests.logic_apps.clock import StoppedClock
from tests.logic_apps.expressions import NotPlayed
from tests.logic_apps.player import Player
from tests.logic_apps.scripted_service import URL, Service, accepted, workflow
from tests.logic_apps.wire import Answer, Sent
from tests.logic_apps.workflow_run import WorkflowRun


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
