"""What is heard of a chat that a caller asks for, with the stand-in model and a scripted pool."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from local.model import create_app as model_app
from shared import api, settings
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.session import session_identifier
from shared.telemetry import digest
from tests.heard import heard
from tests.identities import local_identity
from tests.scripted_pool import Script, ended, identifiers, listing, scripted_pool
from tests.scripted_server import Answer, Received, ScriptedServer
from tests.served import served

TRACE, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLERS_SPAN}-01"
CODE = "```python\nprint('planted-code')\n```"
END = "planted-answer\n\nTERMINATE"
AGENT, MODEL, PYTHON = "invoke_agent CodeWriter", "chat stand-in", "execute_tool python"


@pytest.fixture(scope="module", autouse=True)
def _identity() -> Iterator[None]:
    with local_identity():
        yield


@dataclass
class Place:
    """A model and a pool that the app is set to."""

    pool: ScriptedServer
    model_url: str

    def ask(self, message: str = "planted-message", **fields: Any) -> api.Reply:
        headers = {"content-type": "application/json", "traceparent": TRACEPARENT}
        return api.chat(api.Request("POST", headers, {}, json.dumps({"message": message, **fields}).encode()))


@contextmanager
def place(replies: Sequence[str] = (CODE, END), **answers: Script) -> Iterator[Place]:
    own = {"POST_executions": ended("planted-output\n"), "GET_files": listing(), "GET_session": Answer()}
    with (
        served(model_app(script=replies)) as model_url,
        scripted_pool(**{**own, **answers}) as pool,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("POOL_MANAGEMENT_ENDPOINT", pool.url + "/pool")
        patch.setenv("OPENAI_BASE_URL", f"{model_url}/v1")
        patch.setenv("OPENAI_MODEL", "stand-in")
        patch.setenv("OPENAI_API_KEY", "sk-planted")
        settings.current.cache_clear()
        yield Place(pool, model_url)
    settings.current.cache_clear()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def own_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def test_a_chat_is_one_trace_from_its_caller_to_each_call() -> None:
    with heard() as told, place() as here:
        assert here.ask().status == 200
    assert [span.name for span in told.spans] == [AGENT, MODEL, PYTHON, MODEL]
    chat, *calls = told.spans
    assert {f"{span.context.trace_id:032x}" for span in told.spans if span.context} == {TRACE}
    assert parent(chat) == CALLERS_SPAN
    assert {parent(call) for call in calls} == {own_id(chat)}
    assert [span.kind for span in told.spans] == [
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert {span.status.status_code for span in told.spans} == {StatusCode.UNSET}


def test_the_pool_is_told_which_span_asks() -> None:
    with heard() as told, place() as here:
        here.ask()
    (execution,) = (request for request in here.pool.received if request.path.startswith("/pool/executions"))
    assert execution.headers["traceparent"] == f"00-{TRACE}-{own_id(told.span(PYTHON))}-01"
    assert execution.headers["operation-id"] == attributes(told.span(PYTHON))["gen_ai.tool.call.id"]


def test_spans_say_what_the_conventions_name() -> None:
    with heard() as told, place() as here:
        usage = json.loads(here.ask().body)["usage"]
    (session,) = {digest(identifier) for identifier in identifiers(here.pool)}
    assert attributes(told.span(AGENT)) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "CodeWriter",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "stand-in",
        "gen_ai.response.model": "stand-in",
        "gen_ai.conversation.id": session,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "aca.chat.turns": 2,
        "aca.chat.status": "completed",
    }
    last = attributes(told.spans[-1])
    assert (last["gen_ai.operation.name"], last["gen_ai.conversation.id"]) == ("chat", session)
    assert 0 < last["gen_ai.usage.input_tokens"] < usage["prompt_tokens"]
    run = attributes(told.span(PYTHON))
    assert (run["gen_ai.operation.name"], run["gen_ai.tool.name"]) == ("execute_tool", "python")
    assert (run["aca.execution.status"], run["aca.session.new"], run["aca.chat.turn"]) == ("succeeded", False, 1)


def test_metrics_count_chats_turns_tokens_and_executions() -> None:
    with heard() as told, place() as here:
        usage = json.loads(here.ask().body)["usage"]
    assert told.total("gen_ai.client.token.usage", gen__ai_token_type="input") == usage["prompt_tokens"]
    assert told.total("gen_ai.client.token.usage", gen__ai_token_type="output") == usage["completion_tokens"]
    assert told.total("aca.chat.turns", aca_chat_status="completed") == 2
    assert told.count("gen_ai.client.operation.duration", gen__ai_operation_name="invoke_agent") == 1
    assert told.count("gen_ai.client.operation.duration", gen__ai_operation_name="chat") == 2
    assert told.count("gen_ai.client.operation.duration", aca_execution_status="succeeded") == 1
    assert told.total("aca.failures") == 0


def test_code_that_fails_is_no_failure_of_the_app() -> None:
    with heard() as told, place(POST_executions=ended(stderr="Traceback", status="Failed")) as here:
        here.ask()
    assert attributes(told.span(PYTHON))["aca.execution.status"] == "failed"
    assert told.span(PYTHON).status.status_code is StatusCode.UNSET
    assert attributes(told.span(AGENT))["aca.chat.status"] == "completed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(403, b"{}"), "pool_forbidden"),
        (Answer(429, b"{}", {"Retry-After": "999"}), "pool_full"),
        (Answer(500, b"{}"), "pool_outcome_unknown"),
    ],
)
def test_a_pool_that_fails_is_told_by_its_code(answer: Answer, code: str) -> None:
    with heard() as told, place(POST_executions=answer) as here:
        assert json.loads(here.ask().body)["code"] == code
    for span in (told.span(PYTHON), told.span(AGENT)):
        assert attributes(span)["error.type"] == attributes(span)["aca.error.code"] == code
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert not span.events or [event.name for event in span.events] == ["aca.pool.full"]
    assert attributes(told.span(PYTHON))["aca.execution.status"] == "unknown"
    assert attributes(told.span(AGENT))["aca.chat.status"] == "failed"
    assert told.total("aca.failures", error_type=code) == 1
    assert told.count("gen_ai.client.operation.duration", error_type=code) == 2


def test_an_execution_that_the_deadline_cuts_off_is_told_as_such() -> None:
    with heard() as told, place(POST_executions=Answer(silent=True)) as here:
        assert json.loads(here.ask(deadline_seconds=1).body)["status"] == "deadline"
    assert attributes(told.span(PYTHON))["aca.error.code"] == "deadline"
    assert attributes(told.span(AGENT))["aca.chat.status"] == "deadline"
    assert told.span(AGENT).status.status_code is StatusCode.UNSET


def test_a_full_pool_is_told_also_where_the_next_attempt_finds_room() -> None:
    full = Answer(429, b"{}", {"Retry-After": "0"})
    with heard() as told, place(POST_executions=[full, ended("1")]) as here:
        assert here.ask().status == 200
    assert [event.name for event in told.span(PYTHON).events] == ["aca.pool.full"]
    assert told.total("aca.pool.full") == 1


def test_a_lost_session_is_told() -> None:
    first = ended("1", x_ms_session_guid="a")
    second = ended("2", x_ms_session_guid="b")
    with heard() as told, place([CODE, CODE, END], POST_executions=[first, second]) as here:
        here.ask()
    assert told.total("aca.session.lost") == 1
    assert [event.name for event in told.span(AGENT).events] == ["aca.session.lost"]


def test_a_new_session_is_no_loss() -> None:
    with heard() as told, place(POST_executions=ended("1", x_ms_new_allocation="true")) as here:
        here.ask()
    assert attributes(told.span(PYTHON))["aca.session.new"] is True
    assert told.total("aca.session.lost") == 0


@pytest.mark.parametrize(("status", "code"), [(401, "model_unauthorized"), (429, "model_busy"), (404, "model_refused")])
def test_a_model_that_fails_is_told_by_its_code(status: int, code: str) -> None:
    with heard() as told, place([{"status": status}]) as here:  # type: ignore[list-item]
        assert json.loads(here.ask(deadline_seconds=2).body)["code"] == code
    assert attributes(told.span(MODEL))["error.type"] == code
    assert attributes(told.span(AGENT))["aca.error.code"] == code


def test_a_model_that_is_not_there_is_told_by_its_code() -> None:
    with heard() as told, place() as here, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        settings.current.cache_clear()
        assert json.loads(here.ask().body)["code"] == "model_unreachable"
    assert attributes(told.span(MODEL))["error.type"] == "model_unreachable"


def test_a_request_that_cannot_be_taken_is_counted() -> None:
    with heard() as told, place() as here:
        assert here.ask(message=" ").status == 400
    assert told.total("aca.failures", error_type="message_empty") == 1
    assert told.spans == []


SECRETS = (
    "planted-message",
    "planted-code",
    "planted-output",
    "planted-answer",
    "planted-session",
    "sk-planted",
)


def everything_secret(here: Place, session_id: str) -> list[str]:
    tokens = {request.headers["authorization"].split()[1] for request in here.pool.received}
    own = [here.pool.url, here.model_url, session_id, session_identifier("", session_id)]
    return [*SECRETS, *own, *identifiers(here.pool), *tokens]


def test_nothing_secret_and_no_content_is_told() -> None:
    lost = [ended("planted-output", x_ms_session_guid="a"), ended("planted-output", x_ms_session_guid="b")]
    failed = Answer(403, b'{"error": {"code": "Forbidden", "message": "planted-session"}}')
    with heard() as told, place([CODE, CODE, END] * 2, POST_executions=[*lost, failed]) as here:
        ids = [here.ask(session_id="planted-session").status for _ in range(2)]
        assert ids == [200, 502]
        secrets = everything_secret(here, "planted-session")
    assert "pool_forbidden" in " ".join(str(line.body) for line in told.lines)
    assert [secret for secret in secrets if secret in told.text] == []


def test_content_is_told_where_the_operator_wants_it() -> None:
    with heard(content=True) as told, place() as here:
        here.ask()
        secrets = [secret for secret in everything_secret(here, "no session") if secret not in SECRETS]
    agent, execution = attributes(told.span(AGENT)), attributes(told.span(PYTHON))
    assert json.loads(agent["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "planted-message"}]}
    ]
    assert json.loads(agent["gen_ai.output.messages"])[0]["parts"][0]["content"] == "planted-answer"
    assert "planted-code" in execution["gen_ai.tool.call.arguments"]
    assert execution["gen_ai.tool.call.result"] == "planted-output\n"
    asked = json.loads(attributes(told.spans[-1])["gen_ai.input.messages"])
    assert [message["role"] for message in asked][:2] == ["system", "user"]
    assert json.loads(attributes(told.spans[-1])["gen_ai.output.messages"])[0]["role"] == "assistant"
    assert [secret for secret in secrets if secret in told.text] == []


def test_content_has_a_bound() -> None:
    long = f"```python\n{'planted-code ' * 4_000}\n```"
    with heard(content=True) as told, place([long, END], POST_executions=ended("y" * 32_001)) as here:
        assert here.ask().status == 200
    execution, first = attributes(told.span(PYTHON)), attributes(told.spans[1])
    bounded = [execution["gen_ai.tool.call.arguments"], execution["gen_ai.tool.call.result"]]
    for text in (*bounded, first["gen_ai.output.messages"]):
        assert (len(text), text[-6:]) == (32_000, " [cut]")


def test_of_several_models_the_one_that_is_called_is_told() -> None:
    with heard() as told, place() as here, pytest.MonkeyPatch.context() as patch:
        other = {"model": "x", "api_type": "azure", "base_url": "https://a.openai.azure.com", "api_version": "1"}
        mine = {"model": "stand-in", "base_url": f"{here.model_url}/v1"}
        entries = [{**entry, "api_key": "sk-planted"} for entry in (mine, other)]
        patch.setenv("OAI_CONFIG_LIST", json.dumps(entries))
        settings.current.cache_clear()
        assert here.ask().status == 200
    assert {attributes(span)["gen_ai.provider.name"] for span in told.spans} == {"openai"}


def test_log_lines_belong_to_the_trace() -> None:
    with heard() as told, place(POST_executions=Answer(403, b"{}")) as here:
        here.ask()
    (line,) = told.lines
    assert f"{line.trace_id:032x}" == TRACE


def test_chats_at_once_do_not_mix() -> None:
    together = threading.Barrier(2, timeout=30)

    def execute(number: int, request: Received) -> Answer:
        if number < 2:
            together.wait()
        return ended("1")

    with heard() as told, place([CODE, END] * 2, POST_executions=execute) as here, ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda name: here.ask(session_id=name), ["one", "two"]))
    assert [reply.status for reply in replies] == [200, 200]
    chats = [span for span in told.spans if span.name == AGENT]
    assert len(chats) == 2
    for chat in chats:
        below = [span for span in told.spans if parent(span) == own_id(chat)]
        assert {attributes(span)["gen_ai.conversation.id"] for span in below} == {
            attributes(chat)["gen_ai.conversation.id"]
        }
        assert sorted(span.name for span in below) == [MODEL, MODEL, PYTHON]


def test_an_executor_on_its_own_belongs_to_no_chat() -> None:
    with heard() as told, place() as here:
        here.ask()
        ACASessionsExecutor(here.pool.url + "/pool").run("1")
    assert "gen_ai.agent.name" not in attributes(told.spans[-1])
    assert told.spans[-1].parent is None


def test_without_a_callers_trace_each_chat_has_its_own() -> None:
    with heard() as told, place([CODE, END] * 2):
        for _ in range(2):
            body = json.dumps({"message": "x"}).encode()
            api.chat(api.Request("POST", {"content-type": "application/json"}, {}, body))
    assert len({span.context.trace_id for span in told.spans if span.context}) == 2


def test_a_malformed_traceparent_is_no_harm() -> None:
    with heard() as told, place():
        body = json.dumps({"message": "x"}).encode()
        headers = {"content-type": "application/json", "traceparent": "planted-header"}
        assert api.chat(api.Request("POST", headers, {}, body)).status == 200
    assert told.span(AGENT).parent is None
    assert "planted-header" not in told.text
