"""The triggers, as the worker finds and calls them."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from azure.functions.timer import TimerRequest

from shared import VERSION, api, callbacks, chat, run_api, run_worker, settings
from tests.triggers import TRIGGERS, Trigger

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    settings.current.cache_clear()


def test_the_worker_finds_its_routes() -> None:
    assert {(*route, trigger.binding["authLevel"]) for trigger in TRIGGERS for route in trigger.routes} == {
        ("chat", "GET", "FUNCTION"),
        ("chat", "POST", "FUNCTION"),
        ("health", "GET", "ANONYMOUS"),
        ("openapi.json", "GET", "ANONYMOUS"),
        ("swagger.json", "GET", "ANONYMOUS"),
        ("runs", "GET", "FUNCTION"),
        ("runs", "POST", "FUNCTION"),
        ("runs/cancel", "POST", "FUNCTION"),
        ("runs/{run_id}", "GET", "ANONYMOUS"),
        ("runs/{run_id}/cancel", "POST", "ANONYMOUS"),
    }


def test_it_indexes_by_the_rules_of_the_official_worker() -> None:
    code = (
        "from pathlib import Path; from local.functions_host.indexing import index_functions\n"
        "print(sorted(function.name for function in index_functions(Path('.'))))"
    )
    assert python(code) == str(sorted(trigger.name for trigger in TRIGGERS))


def test_runs_come_from_a_queue_and_what_cannot_be_carried_out_from_another() -> None:
    queues = {trigger.name: trigger.binding for trigger in TRIGGERS if trigger.binding["type"] == "queueTrigger"}
    assert {name: row["queueName"] for name, row in queues.items()} == {
        "carry_out_run": "runs",
        "fail_poisoned_run": "runs-poison",
    }
    assert {row["connection"] for row in queues.values()} == {"AzureWebJobsStorage"}


def test_the_queues_name_is_left_to_the_host_where_the_setting_is_there() -> None:
    code = (
        "import function_app, json\n"
        "rows = [json.loads(f.get_raw_bindings()[0]) for f in function_app.app.get_functions()]\n"
        "print([row['queueName'] for row in rows if row['type'] == 'queueTrigger'])"
    )
    assert python(code, RUN_QUEUE_NAME="other") == "['%RUN_QUEUE_NAME%', '%RUN_QUEUE_NAME%-poison']"


def test_old_runs_are_deleted_every_hour() -> None:
    (timer,) = (trigger.binding for trigger in TRIGGERS if trigger.binding["type"] == "timerTrigger")
    second, minute, *others = timer["schedule"].split()
    assert others == ["*"] * 4
    assert second.isdigit()
    assert minute.isdigit()
    assert not timer.get("runOnStartup")


def test_the_host_lets_the_longest_run_come_to_its_end() -> None:
    host = json.loads((ROOT / "host.json").read_text("utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    # Its chat, the fetching of its files, and its callback.
    longest = settings.RUN_SECONDS_MAX + chat.HARVEST_SECONDS_MAX + callbacks.DELIVERY_SECONDS
    assert longest < hours * 3600 + minutes * 60 + seconds
    assert host["extensions"]["queues"]["maxDequeueCount"] == run_worker.ATTEMPTS


def trigger_of(name: str) -> Trigger:
    return next(trigger for trigger in TRIGGERS if trigger.name == name)


def invoke(name: str, request: func.HttpRequest, traceparent: str = "") -> func.HttpResponse:
    """What the worker does with a request."""
    entry = trigger_of(name).entry
    context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=traceparent))
    options = {"context": context} if "context" in inspect.signature(entry).parameters else {}
    result = entry(request, **options)
    response: func.HttpResponse = asyncio.run(result) if inspect.iscoroutine(result) else result
    return response


def problem(response: func.HttpResponse) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.get_body())
    return body


def test_a_request_reaches_the_contract_and_its_reply_the_host() -> None:
    request = func.HttpRequest(method="get", url="/api/health", body=b"")
    response = invoke("health", request)
    assert response.status_code == 200
    assert json.loads(response.get_body())["version"] == VERSION


def test_header_names_and_methods_are_read_in_any_case() -> None:
    headers = {"CONTENT-Type": "application/json"}
    request = func.HttpRequest(method="post", url="/api/chat", headers=headers, body=b'{"message": " "}')
    response = invoke("chat", request)
    assert response.status_code == 400
    assert problem(response)["code"] == "message_empty"


def test_the_query_reaches_the_contract() -> None:
    request = func.HttpRequest(method="GET", url="/api/chat", params={"message": "x", "max_turns": "0"}, body=b"")
    assert problem(invoke("chat", request))["code"] == "max_turns_out_of_range"


@pytest.mark.parametrize("name", ["chat", "start_run"])
@pytest.mark.parametrize(("hosts", "expected"), [("host", "host"), ("", "caller")])
def test_the_hosts_span_takes_the_place_of_the_callers(
    name: str, hosts: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[api.Request] = []

    def handler(request: api.Request) -> api.Reply:
        seen.append(request)
        return api.Reply(200, b"{}")

    monkeypatch.setattr(api, "chat", handler)
    monkeypatch.setattr(run_api, "create", handler)
    headers = {"Traceparent": "caller", "x": "y"}
    invoke(name, func.HttpRequest(method="POST", url="/", headers=headers, body=b""), hosts)
    assert [dict(request.headers) for request in seen] == [{"traceparent": expected, "x": "y"}]


@pytest.mark.parametrize("name", ["openapi", "swagger"])
def test_the_documents_reach_the_host(name: str) -> None:
    response = invoke(name, func.HttpRequest(method="GET", url=f"/api/{name}.json", body=b""))
    assert response.status_code == 200
    assert "/runs/{run_id}" in json.loads(response.get_body())["paths"]


@pytest.mark.parametrize("name", ["start_run", "list_runs", "get_run", "cancel_run", "cancel_run_by_key"])
def test_without_storage_runs_are_a_problem_that_names_the_setting(name: str) -> None:
    route = {"run_id": "0" * 32}
    headers = {"host": "localhost:7071", "content-type": "application/json"}
    body = b'{"message": "x"}'
    request = func.HttpRequest(method="POST", url="/", headers=headers, route_params=route, body=body)
    response = invoke(name, request)
    assert response.status_code == 500
    assert "AzureWebJobsStorage" in problem(response)["detail"]


def test_without_storage_the_timer_fails_with_the_setting_in_the_log() -> None:
    with pytest.raises(Exception, match="AzureWebJobsStorage"):
        trigger_of("delete_old_runs").entry(TimerRequest())


@pytest.mark.parametrize("name", ["carry_out_run", "fail_poisoned_run"])
def test_a_message_that_names_no_run_is_dropped(name: str, caplog: pytest.LogCaptureFixture) -> None:
    trigger_of(name).entry(func.QueueMessage(id="1", body="<no run> s3cret"))
    assert "no run's id" in caplog.text
    assert "s3cret" not in caplog.text


def python(code: str, **variables: str) -> str:
    """What another interpreter prints, in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = (
        "('autogen', 'openai', 'pandas', 'jupyter_client', 'requests', 'httpx', 'pydantic', 'markdown_it', "
        "'azure.core', 'azure.storage', 'local')"
    )
    assert python(f"import function_app, sys; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_shared_knows_neither_the_host_nor_the_local_stack() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "shared").glob("*.py"))
    assert "azure.functions" not in sources
    assert "import local" not in sources
    assert "from local" not in sources


def test_the_emulator_and_the_client_are_derived_separately() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "local").rglob("*.py")]
    assert not any("from shared" in text or "import shared" in text for text in sources)
