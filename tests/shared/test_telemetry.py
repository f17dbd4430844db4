"""When telemetry begins, what it costs where it is off, and what is heard of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from local.model import create_app as model_app
from shared import run_api, run_triggers, run_worker, settings
from shared.api import Request
from shared.errors import StorageUnreachable
from shared.run_store import RunStore
from shared.runs import Callback, Run
from shared.settings import Settings
from tests.heard import heard
from tests.identities import local_identity
from tests.kept_runs import StorageThatFails, new_run
from tests.memory_storage import MemoryStorage
from tests.scripted_pool import Script, ended, identifiers, listing, scripted_pool, uploaded
from tests.scripted_server import Answer, Received
from tests.served import served

ROOT = Path(__file__).parents[2]
TRACE, POST = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CODE = "```python\nprint('planted-code')\n```"
END = "planted-answer\n\nTERMINATE"
UNKNOWN = "pool_outcome_unknown"
# Later than any deadline, so that nothing waits in the test.
LATER = {"Retry-After": "9999"}
LIMIT_REACHED = b'{"error": {"code": "SessionsCountExceedsLimit"}}'
CALLBACK = "https://a.logic.azure.com/?sig=planted-signature"


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What another interpreter does, in the project's folder."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


ASKED = (
    "import sys, function_app, shared.chat, shared.run_worker, shared.run_store\n"
    "from shared import api\n"
    "from autogen import ConversableAgent\n"
    "request = api.Request('POST', {'content-type': 'application/json'}, {}, b'{\"message\": \"x\"}')\n"
    "print(api.chat(request).status)\n"
    "print([name for name in sys.modules if name.startswith(('opentelemetry', 'azure.monitor'))])"
)


def test_without_a_connection_string_nothing_of_it_is_loaded() -> None:
    assert python(ASKED).stdout.split("\n")[:2] == ["500", "[]"]


@pytest.mark.parametrize("before", ["", "sys.modules['azure.monitor.opentelemetry'] = None\n"])
def test_where_it_cannot_start_the_app_goes_on_and_the_log_says_what_to_do(before: str) -> None:
    done = python("import sys\n" + before + ASKED, APPLICATIONINSIGHTS_CONNECTION_STRING="planted-nonsense")
    assert done.stdout.startswith("500\n")
    assert done.stderr.count("Telemetry could not be started") == 1
    assert "check APPLICATIONINSIGHTS_CONNECTION_STRING" in done.stderr
    assert "planted-nonsense" not in done.stderr


@pytest.mark.parametrize("call", ["carry_out(b'x')", "fail_poisoned(b'x')", "delete_old()"])
def test_it_starts_with_a_delivery_or_the_timer_too(call: str) -> None:
    code = (
        f"import contextlib\nfrom shared import run_triggers as t\nwith contextlib.suppress(Exception):\n    t.{call}"
    )
    done = python(code, APPLICATIONINSIGHTS_CONNECTION_STRING="planted-nonsense")
    assert "Telemetry could not be started" in done.stderr


def test_it_starts_once_however_many_requests_come_at_once() -> None:
    code = (
        "import contextlib, threading, types, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from shared import telemetry\n"
        "started, together, second = [], threading.Barrier(4), threading.Barrier(2)\n"
        "def azure_sink(settings):\n"
        "    started.append(settings)\n"
        "    with contextlib.suppress(threading.BrokenBarrierError):\n"
        "        second.wait(0.3)\n"
        "    return telemetry.Sink()\n"
        "sys.modules['shared.telemetry_azure'] = types.SimpleNamespace(azure_sink=azure_sink)\n"
        "def request(_):\n"
        "    together.wait(10)\n"
        "    telemetry.start()\n"
        "    return len(started)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    print(list(pool.map(request, range(4))), started[0].azure_client_id)"
    )
    done = python(code, APPLICATIONINSIGHTS_CONNECTION_STRING="InstrumentationKey=k", AZURE_CLIENT_ID="id")
    assert done.stdout.strip() == "[1, 1, 1, 1] id"


@dataclass
class Runs:
    """A store, and settings that lead to a model and a pool."""

    store: RunStore
    settings: Settings
    identifiers: list[str]

    def post(self, **fields: Any) -> str:
        """A run that was asked for over HTTP, in the caller's trace; its id."""
        return str(self.posted(**fields)["run_id"])

    def posted(self, **fields: Any) -> dict[str, Any]:
        """The reply to such a post."""
        headers = {
            "content-type": "application/json",
            "host": "localhost",
            "traceparent": f"00-{TRACE}-{POST}-01",
        }
        body = json.dumps({"message": "planted-message", **fields}).encode()
        reply = run_api.create(Request("POST", headers, {}, body), self.store)
        assert reply.status in (200, 202), reply.body
        return dict(json.loads(reply.body))

    def run(self, run_id: str) -> Run:
        stored = self.store.load(run_id)
        assert stored is not None
        return stored.run


@contextmanager
def runs(replies: Sequence[str] = (CODE, END), **answers: Script) -> Iterator[Runs]:
    own = {"POST_executions": ended("planted-output\n"), "GET_files": listing(), "GET_session": Answer()}
    with (
        local_identity(),
        served(model_app(script=replies)) as model_url,
        scripted_pool(**{**own, **answers}) as pool,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("POOL_MANAGEMENT_ENDPOINT", pool.url + "/pool")
        patch.setenv("OPENAI_BASE_URL", f"{model_url}/v1")
        patch.setenv("OPENAI_MODEL", "stand-in")
        settings.current.cache_clear()
        here = Runs(RunStore(MemoryStorage()), settings.current(), [])
        yield here
        here.identifiers += identifiers(pool)
    settings.current.cache_clear()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_run_goes_on_in_the_trace_of_its_post() -> None:
    with heard() as told, runs() as here:
        run_id = here.post()
        run_triggers.carry_out(run_id.encode(), here.store)
    run, chat = told.spans[:2]
    assert [span.name for span in told.spans][:2] == ["run", "invoke_agent CodeWriter"]
    assert run.context is not None
    assert f"{run.context.trace_id:032x}" == TRACE
    assert run.parent is not None
    assert f"{run.parent.span_id:016x}" == POST
    assert chat.parent is not None
    assert chat.parent.span_id == run.context.span_id
    told_of_run = attributes(run)
    assert 0 <= told_of_run.pop("aca.run.wait") < 60
    assert told_of_run == {"aca.run.id": run_id, "aca.run.attempt": 1, "aca.run.status": "completed"}
    assert {attributes(span)["aca.run.id"] for span in told.spans} == {run_id}


def test_a_run_whose_post_was_in_no_trace_is_in_the_hosts() -> None:
    with heard() as told, runs() as here:
        run_id = here.post()
        here.store.change(run_id, lambda run: replace(run, traceparent=""))
        with told.tracers.get_tracer("host").start_as_current_span("invocation") as invocation:
            run_triggers.carry_out(run_id.encode(), here.store)
    assert told.span("run").parent == invocation.get_span_context()


def test_runs_are_counted_when_they_are_queued_and_when_they_end() -> None:
    with heard() as told, runs() as here:
        run_triggers.carry_out(here.post().encode(), here.store)
        here.post()
    assert told.total("aca.runs", aca_run_status="queued") == 2
    assert told.total("aca.runs", aca_run_status="completed") == 1
    assert told.count("aca.run.wait") == 1


def test_a_repeated_post_is_counted_once() -> None:
    with heard() as told, runs() as here:
        headers = {"content-type": "application/json", "host": "localhost", "idempotency-key": "k"}
        for _ in range(2):
            assert run_api.create(Request("POST", headers, {}, b'{"message": "x"}'), here.store).status == 202
    assert told.total("aca.runs", aca_run_status="queued") == 1


def test_a_run_that_fails_is_told_by_its_code() -> None:
    with heard() as told, runs(POST_executions=Answer(403, b"{}")) as here:
        run_id = here.post()
        run_triggers.carry_out(run_id.encode(), here.store)
    assert here.run(run_id).status == "failed"
    assert attributes(told.span("run"))["aca.run.status"] == "failed"
    assert told.total("aca.runs", aca_run_status="failed") == 1
    assert told.total("aca.failures", error_type="pool_forbidden") == 1


def test_a_delivery_that_has_to_be_repeated_says_why() -> None:
    with heard() as told, runs(POST_executions=Answer(500, b"{}")) as here:
        run_id = here.post()
        for _ in range(2):
            with pytest.raises(run_triggers.NotCarriedOut):
                run_triggers.carry_out(run_id.encode(), here.store)
    first, second = (span for span in told.spans if span.name == "run")
    assert (attributes(first)["aca.error.code"], attributes(first)["aca.run.status"]) == (UNKNOWN, "running")
    assert first.status.status_code is StatusCode.ERROR
    assert [attributes(run)["aca.run.attempt"] for run in (first, second)] == [1, 2]
    assert told.count("aca.run.wait") == 1
    assert told.total("aca.runs", aca_run_status="failed") == 0
    assert told.total("aca.failures", error_type=UNKNOWN) == 2


@pytest.mark.parametrize("answer", [Answer(429, b"", LATER), Answer(404, LIMIT_REACHED, LATER)])
def test_a_delivery_that_waits_for_a_busy_service_says_for_which(answer: Answer) -> None:
    with heard() as told, runs(POST_executions=answer) as here:
        run_id = here.post()
        run_triggers.carry_out(run_id.encode(), here.store)
    assert here.run(run_id).waits == 1
    delivery = attributes(told.span("run"))
    assert (delivery["aca.error.code"], delivery["aca.run.status"]) == ("pool_full", "running")
    assert told.total("aca.pool.full") == 1
    assert told.total("aca.failures") == 0


@pytest.mark.parametrize("busy", ["POST_files", "POST_executions"])
def test_a_lost_session_is_told_by_the_delivery_that_finds_it(busy: str) -> None:
    gone = {"GET_session": Answer(404, b""), "POST_files": uploaded("a.csv"), busy: Answer(429, b"", LATER)}
    with heard() as told, runs([CODE, END], **gone) as here:
        fields = {"session_id": "planted-session", "files": [{"name": "a.csv", "content": "MSwy"}]}
        run_id = here.post(**fields)
        for _ in range(3):
            run_triggers.carry_out(run_id.encode(), here.store)
    assert here.run(run_id).waits == 3
    assert told.total("aca.session.lost") == 1


def test_a_run_that_is_taken_away_has_not_failed() -> None:
    def execute(number: int, request: Received) -> Answer:
        here.store.change(run_id, lambda run: replace(run, attempts=run.attempts + 1))
        return ended("1")

    with heard() as told, runs(POST_executions=execute) as here:
        run_id = here.post()
        run_triggers.carry_out(run_id.encode(), here.store)
    run, chat = told.span("run"), told.span("invoke_agent CodeWriter")
    assert attributes(chat)["aca.chat.status"] == "abandoned"
    for span in (run, chat):
        assert "aca.error.code" not in attributes(span)
        assert span.status.status_code is StatusCode.UNSET
    assert told.total("aca.failures") == 0


@pytest.mark.parametrize("handler", [run_triggers.carry_out, run_triggers.fail_poisoned])
def test_a_delivery_that_cannot_even_begin_is_counted(handler: Callable[[bytes, RunStore], None]) -> None:
    storage = MemoryStorage()
    with heard() as told:
        failing = StorageThatFails(storage, 1, StorageUnreachable())
        with pytest.raises(run_triggers.NotCarriedOut):
            handler(b"0" * 32, RunStore(failing.as_storage()))
        with pytest.raises(run_triggers.NotCarriedOut):
            run_triggers.delete_old(RunStore(StorageThatFails(storage, 1, ValueError()).as_storage()))
    assert told.spans == []
    assert told.total("aca.failures", error_type="storage_unreachable") == 1
    assert told.total("aca.failures", error_type="internal_error") == 1


def test_a_run_that_only_has_to_call_back_has_not_ended_again() -> None:
    with heard() as told, runs() as here:
        run_id = here.post(callback_url=CALLBACK)
        for state in ("pending", "delivered"):
            callback = Callback(CALLBACK, state)
            run_worker.carry_out(run_id, here.store, here.settings, deliver=lambda *_, done=callback: done)
    assert len([span for span in told.spans if span.name == "run"]) == 2
    assert told.total("aca.runs", aca_run_status="completed") == 1
    assert told.count("aca.run.wait") == 1


def test_a_poisoned_run_is_told() -> None:
    with heard() as told, runs() as here:
        run_id = here.post()
        run_triggers.fail_poisoned(run_id.encode(), here.store)
    assert attributes(told.span("run"))["aca.run.status"] == "failed"
    assert told.total("aca.failures", error_type="run_given_up") == 1


def test_no_address_and_no_secret_of_a_run_is_told() -> None:
    with heard() as told, runs() as here:
        posted = here.posted(callback_url=CALLBACK, session_id="planted-session")
        run_id, token = posted["run_id"], posted["status_url"].partition("token=")[2]
        here.store.change(run_id, lambda run: replace(run, caller="planted-caller"))
        given_up = Callback(CALLBACK, "given_up", 5)
        run_worker.carry_out(run_id, here.store, here.settings, deliver=lambda *_: given_up)
    assert run_id in told.text
    secrets = ["planted", token, *here.identifiers]
    assert len(secrets) > 2
    assert all(secrets)
    assert [secret for secret in secrets if secret in told.text] == []


def test_where_nothing_is_measured_a_record_names_no_trace() -> None:
    with runs() as here:
        assert here.run(here.post()).traceparent == ""


def test_a_record_of_an_earlier_version_is_still_a_run() -> None:
    row = json.loads(new_run(traceparent="x").to_json())
    del row["traceparent"]
    assert Run.from_json(json.dumps(row).encode()).traceparent == ""
