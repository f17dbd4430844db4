"""What a caller gets when something breaks in the middle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Caller, StackFactory

CODE = "```python\nprint(6 * 7)\n```"


@pytest.fixture
def scripted(tmp_path: Path) -> Any:
    """Options for a stack whose model says what a test wants."""

    def options(*replies: Any) -> dict[str, Any]:
        script = tmp_path / "script.json"
        script.write_text(json.dumps(list(replies)), "utf-8")
        return {"model_args": ["--script", str(script)]}

    return options


def test_a_stopped_pool_is_unreachable_and_named_by_its_setting(stack_of: StackFactory) -> None:
    with stack_of() as stack:
        stack.stop_part("session_pool")
        response = Caller(stack.url).post({"message": "What is 6 times 7?"})
    assert response.status_code == 502
    assert response.json()["code"] == "pool_unreachable"
    assert "POOL_MANAGEMENT_ENDPOINT" in response.json()["remedy"]
    assert "127.0.0.1" not in response.text


def test_a_full_pool_says_when_to_come_back(stack_of: StackFactory) -> None:
    with stack_of(pool_args=["--max-sessions", "1"]) as stack:
        ask = Caller(stack.url)
        ask("What is 6 times 7?")
        response = ask.post({"message": "What is 6 times 7?"})
    assert response.status_code == 503
    assert response.json()["code"] == "pool_full"
    assert int(response.headers["Retry-After"]) > 0


def test_tokens_that_live_a_second_are_renewed(stack_of: StackFactory) -> None:
    with stack_of(identity_args=["--lifetime", "2"]) as stack:
        ask = Caller(stack.url)
        first = ask("Run this:\n```python\nimport time\ntime.sleep(3)\nx = 1\n```")
        assert "1" in ask("Run this:\n```python\nprint(x)\n```", session_id=first["session_id"])["result"]


def test_a_token_that_is_refused_is_replaced_in_the_middle_of_a_chat(stack_of: StackFactory) -> None:
    # A day's token is far from its renewal, so only the pool's 401 can tell that a new key has made it worthless.
    with stack_of(identity_args=["--header", "the same after a restart"]) as stack:
        ask = Caller(stack.url)
        ask("What is 6 times 7?")
        for part in ("identity", "session_pool"):
            stack.stop_part(part)
            stack.start_part(part)
        assert "42" in ask("What is 6 times 7?")["result"]


def test_a_session_lost_between_two_blocks_is_told_to_the_model(stack_of: StackFactory, scripted: Any) -> None:
    slow = {"content": "```python\nprint('x' in globals())\n```", "latency": 4}
    options = scripted("```python\nx = 1\n```", slow, "Done.\n\nTERMINATE")
    with stack_of(**options, pool_args=["--cooldown-seconds", "1"]) as stack:
        reply = Caller(stack.url)("Go on")
    assert "the session was lost" in reply["steps"][3]["content"]
    assert "False" in reply["steps"][3]["content"]


def test_a_chat_stops_at_its_deadline_with_what_it_has(stack_of: StackFactory, scripted: Any) -> None:
    with stack_of(**scripted(CODE, {"content": "late", "latency": 60})) as stack:
        began = time.monotonic()
        reply = Caller(stack.url)("Compute", deadline_seconds=10)
        took = time.monotonic() - began
    assert reply["status"] == "deadline"
    assert reply["steps"][1]["content"].endswith("42")
    assert took < 20


def test_a_chat_without_an_end_stops_at_its_turns(stack_of: StackFactory, scripted: Any) -> None:
    with stack_of(**scripted(CODE)) as stack:
        reply = Caller(stack.url)("Compute", max_turns=3)
    assert reply["status"] == "turn_limit"
    assert sum(step["agent"] == "CodeWriter" for step in reply["steps"]) == 3


@pytest.mark.parametrize(
    "mistake",
    [
        CODE + "\n\nTERMINATE",
        "```python\nprint(6 * 7)",
        "```python\nprint(6 * 7)\nTERMINATE",
        "~~~py\nprint(6 * 7)\n~~~",
    ],
)
def test_common_mistakes_of_a_model_are_harmless(stack_of: StackFactory, scripted: Any, mistake: str) -> None:
    with stack_of(**scripted(mistake, "The answer is 42.\n\nTERMINATE")) as stack:
        reply = Caller(stack.url)("Compute")
    assert (reply["status"], reply["result"]) == ("completed", "The answer is 42.")
    assert "42" in reply["steps"][1]["content"]


@pytest.mark.parametrize("label", ["text", ""])
def test_an_answer_may_show_the_output_in_a_fence(stack_of: StackFactory, scripted: Any, label: str) -> None:
    with stack_of(**scripted(CODE, f"The output was:\n```{label}\n42\n```\nTERMINATE")) as stack:
        reply = Caller(stack.url)("Compute")
    assert (reply["status"], reply["result"]) == ("completed", f"The output was:\n```{label}\n42\n```")
    assert len(reply["steps"]) == 3


def test_neither_code_nor_end_is_told_what_to_send(stack_of: StackFactory, scripted: Any) -> None:
    with stack_of(**scripted("Let me think.", "", CODE, "It is 42.\n\nTERMINATE")) as stack:
        reply = Caller(stack.url)("Compute")
    assert "no code to run" in reply["steps"][1]["content"]
    assert reply["result"] == "It is 42."


def test_other_languages_are_refused_and_the_rest_is_not_run(stack_of: StackFactory, scripted: Any) -> None:
    blocks = "```javascript\n1\n```\n\n" + CODE
    with stack_of(**scripted(blocks, "Done.\n\nTERMINATE")) as stack:
        reply = Caller(stack.url)("Compute")
    step = reply["steps"][1]
    assert step["exit_code"] == 1
    assert "```python" in step["content"]
    assert "were not run" in step["content"]
    assert "42" not in step["content"]


@pytest.mark.parametrize(
    ("status", "code", "http"),
    [
        (401, "model_unauthorized", 502),
        (403, "model_unauthorized", 502),
        (400, "model_refused", 502),
        (404, "model_refused", 502),
        (429, "model_busy", 503),
    ],
)
def test_a_model_that_refuses_is_a_typed_problem(
    stack_of: StackFactory, scripted: Any, status: int, code: str, http: int
) -> None:
    refusal = {"status": status, "headers": {"Retry-After": "300"}, "body": {"error": {"message": "key sk-secret"}}}
    with stack_of(**scripted(refusal)) as stack:
        response = Caller(stack.url).post({"message": "Compute", "deadline_seconds": 20})
    assert (response.status_code, response.json()["code"]) == (http, code)
    assert "sk-secret" not in response.text


def test_a_missing_setting_fails_the_request_and_not_the_app(stack_of: StackFactory) -> None:
    with stack_of(host_env={"CHAT_MAX_TURNS": "many"}) as stack:
        response = Caller(stack.url).post({"message": "Compute"})
        assert response.status_code == 500
        assert "CHAT_MAX_TURNS" in response.json()["detail"]


def test_blocks_that_ended_before_the_deadline_are_kept(stack_of: StackFactory, scripted: Any) -> None:
    blocks = CODE + "\n\n```python\nimport time\ntime.sleep(60)\n```"
    with stack_of(**scripted(blocks)) as stack:
        reply = Caller(stack.url)("Compute", deadline_seconds=12)
    assert reply["status"] == "deadline"
    assert "42" in reply["steps"][1]["content"]


def test_the_oldest_api_version_goes_on_in_a_session_and_says_when_it_cannot(stack_of: StackFactory) -> None:
    with stack_of(host_env={"SESSION_POOL_API_VERSION": "2024-10-02-preview"}) as stack:
        ask = Caller(stack.url)
        first = ask("Run this:\n```python\nx = 41\n```")
        again = ask("Run this:\n```python\nprint(x + 1)\n```", session_id=first["session_id"])
        gone = ask("Run this:\n```python\nprint(1)\n```", session_id="never-seen-before")
    assert "42" in again["result"]
    assert "this session is new" not in again["steps"][1]["content"]
    assert "this session is new" in gone["steps"][1]["content"]


def test_a_model_that_autogen_cannot_use_is_a_fault_of_its_setting(stack_of: StackFactory) -> None:
    with stack_of(
        host_env={"OAI_CONFIG_LIST": '[{"model": "m", "api_type": "anthropic", "api_key": "sk-k"}]'}
    ) as stack:
        response = Caller(stack.url).post({"message": "Compute"})
    assert (response.status_code, response.json()["code"]) == (500, "setting_invalid")
    assert "OAI_CONFIG_LIST" in response.json()["detail"]
    assert "sk-k" not in response.text
