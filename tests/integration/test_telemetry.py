"""What leaves the app for Application Insights: the real app and distribution, and a listener in Azure's place."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from local import azurite
from local.session_pool.tls import write_certificate
from local.stack import Stack
from shared.session import session_identifier
from shared.telemetry import digest
from tests.integration.conftest import StackFactory
from tests.scripted_server import Answer, Received, scripted_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
BOUND_SECONDS = 60.0
SESSION = "planted-session"
QUESTION, ANSWER = "What is 1234567 times 7654321?", "9449772114007"


class Ingestion:
    """Takes what is exported, item by item."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.bodies: list[str] = []
        self.authorizations: set[str] = set()
        self._arrived = threading.Condition()

    def answer(self, number: int, request: Received) -> Answer:
        items = json.loads(request.body)
        with self._arrived:
            self.items += items
            self.bodies.append(request.body.decode())
            self.authorizations.add(request.headers.get("authorization", ""))
            self._arrived.notify_all()
        return Answer(
            body=json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}).encode()
        )

    def wait(self, done: Callable[[], bool]) -> None:
        with self._arrived:
            assert self._arrived.wait_for(done, BOUND_SECONDS), [self.name(item) for item in self.items]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What of a kind has arrived: `RemoteDependencyData`, `RequestData`, `MetricData`, `MessageData`."""
        return [item for item in self.items if item["data"]["baseType"] == kind]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [item for item in self.items if self.name(item) == name]

    @staticmethod
    def name(item: dict[str, Any]) -> str:
        data = item["data"]["baseData"]
        return str(data["metrics"][0]["name"] if "metrics" in data else data.get("name") or data.get("message"))


@contextmanager
def ingestion(folder: Path) -> Iterator[tuple[Ingestion, dict[str, str]]]:
    """A listener, and the settings of an app that sends to it."""
    authority, certificate, key = write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    here = Ingestion()
    with scripted_server(here.answer, tls=context) as server:
        yield (
            here,
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={'0' * 8}-0000-4000-8000-{'0' * 12};"
                f"IngestionEndpoint={server.url}/",
                "REQUESTS_CA_BUNDLE": str(authority),
                # The distribution's own calls home.
                "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
                "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
                "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_BLRP_SCHEDULE_DELAY": "100",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
            },
        )


def ask(stack: Stack, **fields: Any) -> requests.Response:
    return requests.post(
        f"{stack.url}/api/chat",
        json={"message": QUESTION, "session_id": SESSION, **fields},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
        timeout=120,
    )


def test_it_reaches_application_insights_by_identity_and_tells_nothing_secret(
    stack_of: StackFactory, tmp_path: Path
) -> None:
    with ingestion(tmp_path) as (told, settings), stack_of(host_env=settings) as stack:
        assert ANSWER in ask(stack).text
        told.wait(lambda: bool(told.named("invoke_agent CodeWriter") and told.named("aca.chat.turns")))
        stack.stop_part("session_pool")
        assert ask(stack).status_code == 502
        told.wait(lambda: len(told.named("invoke_agent CodeWriter")) == 2 and bool(told.named("aca.failures")))
        told.wait(lambda: any(told.name(line).startswith("pool_unreachable: ") for line in told.of("MessageData")))
        pool = stack.part_url("session_pool")
    spans = told.of("RemoteDependencyData")
    assert {told.name(span) for span in spans} == {"invoke_agent CodeWriter", "chat stand-in", "execute_tool python"}
    assert {span["tags"]["ai.operation.id"] for span in spans} == {TRACE}
    chat, failed = (span["data"]["baseData"] for span in told.named("invoke_agent CodeWriter"))
    assert (chat["success"], failed["success"]) == (True, False)
    assert chat["properties"]["gen_ai.conversation.id"] == digest(session_identifier("", SESSION))
    assert failed["properties"]["aca.error.code"] == "pool_unreachable"
    # The caller has made the session's name up, so that its session was not there.
    lines = told.of("MessageData")
    assert [told.name(line).partition(":")[0] for line in lines] == ["aca.session.lost", "pool_unreachable"]
    assert {line["tags"]["ai.operation.id"] for line in lines} == {TRACE}
    assert all(text.startswith("Bearer ") for text in told.authorizations)
    everything = "\n".join(told.bodies)
    secrets = [SESSION, session_identifier("", SESSION), pool, "1234567", ANSWER, *told.authorizations]
    assert [secret for secret in secrets if secret in everything] == []


def test_libraries_tell_nothing_by_themselves(stack_of: StackFactory, tmp_path: Path) -> None:
    if reason := azurite.missing():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with ingestion(tmp_path) as (told, settings), stack_of(host_env=settings) as stack:
        run = requests.post(f"{stack.url}/api/runs", json={"message": QUESTION}, timeout=60).json()
        told.wait(lambda: bool(told.named("run")))
        told.wait(lambda: bool(told.named("aca.run.wait")))
    everything = "\n".join(told.bodies)
    (delivery,) = told.of("RequestData")
    assert delivery["data"]["baseData"]["properties"]["aca.run.id"] == run["run_id"]
    names = {told.name(span) for span in told.of("RemoteDependencyData")}
    assert names == {"invoke_agent CodeWriter", "chat stand-in", "execute_tool python"}
    token = run["status_url"].partition("token=")[2]
    assert [secret for secret in (token, run["session_id"], "http://", "https://") if secret in everything] == []
