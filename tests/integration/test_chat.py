"""What a caller gets."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from local.stack import Stack
from tests.integration.conftest import Caller, StackFactory

PNG = b"\x89PNG\r\n\x1a\n"


def python(code: str) -> str:
    return f"Run this:\n```python\n{code}\n```"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_task_is_answered_with_the_whole_path(ask: Caller) -> None:
    reply = ask("What is the standard deviation of 4, 8, 15, 16, 23, 42?")
    assert reply["status"] == "completed"
    assert "13.4907" in reply["result"]
    assert "TERMINATE" not in reply["result"]
    assert [(step["index"], step["agent"]) for step in reply["steps"]] == [
        (1, "CodeWriter"),
        (2, "CodeExecutor"),
        (3, "CodeWriter"),
    ]
    assert "statistics" in reply["steps"][0]["content"]
    assert reply["steps"][1]["exit_code"] == 0
    assert reply["usage"]["model"] == "stand-in"
    assert reply["usage"]["total_tokens"] > 0
    assert len(reply["chat_history"]) == 4
    assert "usage_including_cached_inference" in reply["cost"]


def test_the_tutorials_get_form_answers_the_tutorials_question(stack: Stack) -> None:
    url = f"{stack.url}/api/chat"
    response = requests.get(url, params={"message": "What time is it right now?"}, timeout=60)
    assert response.status_code == 200
    assert "UTC" in response.json()["result"]


def test_health_needs_nothing(stack: Stack) -> None:
    response = requests.get(f"{stack.url}/api/health", timeout=10)
    assert response.json()["status"] == "alive"


def test_a_session_keeps_its_variables_and_another_has_none_of_them(ask: Caller) -> None:
    first = ask(python("x = 41"))
    assert "42" in ask(python("print(x + 1)"), session_id=first["session_id"])["result"]
    other = ask(python("print('x' in globals())"))
    assert "False" in other["result"]
    assert other["session_id"] != first["session_id"]


def test_a_session_that_is_gone_is_told_to_the_model(ask: Caller) -> None:
    reply = ask(python("print(1)"), session_id="never-seen-before")
    assert "this session is new" in reply["steps"][1]["content"]


def test_a_session_that_is_gone_is_told_although_files_have_started_another(ask: Caller) -> None:
    files = [{"name": "a.csv", "content": encoded(b"1,2\n")}]
    reply = ask(python("print(open('/mnt/data/a.csv').read())"), session_id="gone-with-its-files", files=files)
    assert "this session is new" in reply["steps"][1]["content"]
    assert "1,2" in reply["steps"][1]["content"]


def test_a_plot_comes_back_as_a_picture(ask: Caller) -> None:
    reply = ask("Plot sin(x) from 0 to 10")
    (picture,) = reply["pictures"]
    assert (picture["name"], picture["content_type"]) == ("plot.png", "image/png")
    assert base64.b64decode(picture["content"]).startswith(PNG)
    assert [file["name"] for file in reply["files"]] == ["plot.png"]


def test_a_shown_picture_comes_back_and_never_enters_the_conversation(ask: Caller) -> None:
    reply = ask(python("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"))
    (picture,) = reply["pictures"]
    data = base64.b64decode(picture["content"])
    assert data.startswith(PNG)
    assert reply["steps"][1]["pictures"] == [picture["name"]]
    assert encoded(data)[:60] not in str(reply["chat_history"])


def test_an_uploaded_file_is_used_and_is_not_listed_as_new(ask: Caller) -> None:
    table = b"city,sales\nOslo,3\nRoma,5\n"
    reply = ask("Describe this file", files=[{"name": "sales.csv", "content": encoded(table)}])
    assert "2 rows, 2 columns: city, sales" in reply["result"]
    assert reply["files"] == []


def test_an_uploaded_file_that_the_code_changes_comes_back(ask: Caller) -> None:
    files = [{"name": name, "content": encoded(b"1,2")} for name in ("changed.csv", "same.csv")]
    reply = ask(python("open('/mnt/data/changed.csv', 'w').write('9,9')"), files=files)
    assert [(file["name"], base64.b64decode(file["content"])) for file in reply["files"]] == [("changed.csv", b"9,9")]


def test_output_over_what_a_session_returns_is_said_to_be_cut_there(ask: Caller) -> None:
    reply = ask(python("for number in range(60_000):\n    print(number)"))
    assert "at least 80000 characters left out; the session itself cut the rest" in reply["steps"][1]["content"]
    code = "import sys\nprint('x' * 200_000, file=sys.stderr)\nraise ValueError('the reason')"
    assert "the end of the traceback is missing" in ask(python(code))["steps"][1]["content"]


def test_a_written_file_comes_back(ask: Caller) -> None:
    reply = ask(python("open('/mnt/data/note.txt', 'w').write('hello')"))
    (file,) = reply["files"]
    assert (file["name"], file["size_bytes"]) == ("note.txt", 5)
    assert base64.b64decode(file["content"]) == b"hello"
    again = ask(python("print(open('/mnt/data/note.txt').read())"), session_id=reply["session_id"])
    assert "hello" in again["result"]
    assert again["files"] == []


def test_code_that_fails_is_repaired_after_its_traceback(ask: Caller) -> None:
    reply = ask('Add up the prices "12.50 EUR", "7,25 EUR" and "3 EUR"')
    assert [step.get("exit_code") for step in reply["steps"]] == [None, 1, None, 0, None]
    assert "ValueError" in reply["steps"][1]["content"]
    assert "22.75" in reply["result"]


def test_a_killed_kernel_is_an_answer_to_the_model(ask: Caller) -> None:
    reply = ask(python("import os\nos._exit(1)"))
    assert reply["status"] == "completed"
    assert "kernel was stopped" in reply["steps"][1]["content"]
    after = ask(python("print('alive')"), session_id=reply["session_id"])
    assert "alive" in after["result"]


def test_shell_blocks_run_in_the_same_session(ask: Caller) -> None:
    first = ask(python("open('/mnt/data/a.txt', 'w').write('from python')"))
    reply = ask("Run this:\n```bash\ncat /mnt/data/a.txt\n```", session_id=first["session_id"])
    assert "from python" in reply["result"]


def test_what_the_stand_in_does_not_know_is_said(ask: Caller) -> None:
    assert "AZURE_OPENAI_ENDPOINT" in ask("Write a poem about autumn")["result"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "message_missing"),
        ({"message": " "}, "message_empty"),
        ({"message": "x" * 40_000}, "message_too_long"),
        ({"message": "x", "extra": 1}, "unknown_field"),
        ({"message": "x", "session_id": "../etc"}, "session_id_invalid"),
        ({"message": "x", "max_turns": 1000}, "max_turns_out_of_range"),
        ({"message": "x", "deadline_seconds": 1e9}, "deadline_out_of_range"),
        ({"message": "x", "files": [{"name": "../x", "content": ""}]}, "file_name_invalid"),
        ({"message": "x", "files": [{"name": "x", "content": "?"}]}, "file_content_invalid"),
    ],
)
def test_bad_input_is_a_problem_with_its_code(ask: Caller, body: Any, code: str) -> None:
    response = ask.post(body)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert response.json()["remedy"]


def test_bodies_that_are_no_json_are_problems(stack: Stack) -> None:
    url = f"{stack.url}/api/chat"
    broken = requests.post(url, data=b"{", headers={"Content-Type": "application/json"}, timeout=10)
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")
    form = requests.post(url, data={"message": "x"}, timeout=10)
    assert (form.status_code, form.json()["code"]) == (415, "content_type_unsupported")


def test_callers_with_the_same_session_id_never_meet(stack_of: StackFactory) -> None:
    with stack_of(host_env={"WEBSITE_AUTH_ENABLED": "true"}) as stack:
        ask = Caller(stack.url)
        anna = {"X-MS-CLIENT-PRINCIPAL-ID": "anna", "X-MS-CLIENT-PRINCIPAL-IDP": "aad"}
        ben = {**anna, "X-MS-CLIENT-PRINCIPAL-ID": "ben"}
        ask(python("secret = 'of anna'"), session_id="shared", headers=anna)
        assert "False" in ask(python("print('secret' in globals())"), session_id="shared", headers=ben)["result"]
        assert "of anna" in ask(python("print(secret)"), session_id="shared", headers=anna)["result"]


def test_a_callers_header_counts_for_nothing_without_easy_auth(ask: Caller) -> None:
    first = ask(python("x = 7"), headers={"X-MS-CLIENT-PRINCIPAL-ID": "anna"})
    assert "7" in ask(python("print(x)"), session_id=first["session_id"])["result"]


def test_fifty_chats_at_once_do_not_meet(ask: Caller) -> None:
    def chat(number: int) -> dict[str, Any]:
        code = (
            f"mark = {number}\nopen('/mnt/data/mark-{number}.png', 'wb').write(b'picture {number}')\n"
            f"print('mark', mark, [n for n in globals() if n.startswith('mark')])"
        )
        return ask(python(code))

    with ThreadPoolExecutor(50) as threads:
        replies = list(threads.map(chat, range(50)))
    assert len({reply["session_id"] for reply in replies}) == 50
    for number, reply in enumerate(replies):
        assert f"mark {number} ['mark']" in reply["result"]
        (picture,) = reply["pictures"]
        assert picture["name"] == f"mark-{number}.png"
        assert base64.b64decode(picture["content"]) == f"picture {number}".encode()


def test_memory_stays_flat_over_two_hundred_chats(stack: Stack, ask: Caller) -> None:
    status = Path(f"/proc/{stack.pids['functions_host']}/status")
    if not status.exists():
        pytest.skip("memory is read from /proc, which only Linux has")

    def resident_megabytes() -> float:
        line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    session_id = ask(python("x = 1"))["session_id"]
    for _ in range(50):
        ask(python("print(x)"), session_id=session_id)
    before = resident_megabytes()
    for _ in range(200):
        ask(python("print(x)"), session_id=session_id)
    # 145 MB is what 200 chats cost with a client of its own for each.
    assert resident_megabytes() - before < 20
