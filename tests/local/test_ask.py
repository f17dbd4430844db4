"""`ask` as a user runs it, against a server that answers as each test says."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n rest"
REPLY: dict[str, Any] = {
    "session_id": "s-1",
    "status": "completed",
    "result": "It is 42.",
    "steps": [
        {"index": 1, "agent": "CodeWriter", "content": "```python\nprint(6 * 7)\n```"},
        {"index": 2, "agent": "CodeExecutor", "content": "exitcode: 0\nCode output: stdout:\n42", "exit_code": 0},
        {"index": 3, "agent": "CodeWriter", "content": "It is 42.\nTERMINATE"},
    ],
    "pictures": [{"name": "picture-1.png", "content_type": "image/png", "content": base64.b64encode(PNG).decode()}],
    "files": [{"name": "big.csv", "size_bytes": 9_000_000, "content_type": "text/csv"}],
    "usage": {"model": "m", "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
PROBLEM = {
    "title": "The session pool is full",
    "status": 503,
    "code": "pool_full",
    "detail": "Every session is taken.",
    "remedy": "Try again later.",
}


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Asking:
    """Runs `python -m local ask` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_file = folder / "stack.json"

    def __call__(self, *arguments: str, **variables: str) -> Ran:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        ran = subprocess.run(
            [sys.executable, "-m", "local", "ask", "--state-file", str(self.state_file), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def replies(reply: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Any:
    """A server that gives this reply to every request."""
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return scripted_server(lambda number, request: Answer(status, body, dict(headers or {})))


def sent(server: ScriptedServer) -> Received:
    (request,) = server.received
    return request


def test_answer_is_shown_with_its_way_and_pictures_are_saved(ask: Asking) -> None:
    with replies(REPLY) as server:
        ran = ask("What is 6 * 7?", "--url", server.url)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[:-1] == [
        "",
        "=== Question",
        "What is 6 * 7?",
        "",
        "=== CodeWriter",
        "print(6 * 7)",
        "",
        "=== CodeExecutor, exit code 0",
        "stdout:",
        "42",
        "",
        "=== Answer",
        "It is 42.",
        "",
        f"Saved {Path('answers') / 'picture-1.png'}",
        "In the session: big.csv (9000000 bytes)",
        'Go on in this session: python3 dev.py ask --session s-1 "..."',
    ]
    assert "3 tokens (1 read, 2 written)" in ran.out.splitlines()[-1]
    assert (ask.folder / "answers" / "picture-1.png").read_bytes() == PNG
    request = sent(server)
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert json.loads(request.body) == {"message": "What is 6 * 7?"}
    assert "x-functions-key" not in request.headers


def test_json_is_the_reply_alone_and_saves_nothing(ask: Asking) -> None:
    with replies(REPLY) as server:
        ran = ask("q", "--url", server.url, "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == REPLY
    assert not (ask.folder / "answers").exists()


def test_all_options_reach_the_app(ask: Asking) -> None:
    (ask.folder / "a.csv").write_bytes(b"x,y\n")
    (ask.folder / "b.bin").write_bytes(b"\xff\x00")
    options = ["--file", "a.csv", "--file", "b.bin", "--session", "s", "--max-turns", "4", "--deadline", "9"]
    with replies(REPLY) as server:
        ran = ask("q", "--url", f"{server.url}/api/chat", "--key", "k3y", *options, "--output", "out/here")
    assert ran.code == 0, ran.err
    assert json.loads(sent(server).body) == {
        "message": "q",
        "session_id": "s",
        "max_turns": 4,
        "deadline_seconds": 9,
        "files": [{"name": "a.csv", "content": "eCx5Cg=="}, {"name": "b.bin", "content": "/wA="}],
    }
    assert sent(server).headers["x-functions-key"] == "k3y"
    assert (ask.folder / "out/here/picture-1.png").exists()
    assert "k3y" not in ran.out + ran.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_file_is_read_once(ask: Asking) -> None:
    pipe = ask.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"once",), daemon=True)
    writer.start()
    with replies(REPLY) as server:
        ran = ask("q", "--url", server.url, "--file", "pipe")
    writer.join(10)
    assert ran.code == 0, ran.err
    assert json.loads(sent(server).body)["files"] == [{"name": "pipe", "content": "b25jZQ=="}]


@pytest.mark.parametrize("status", ["turn_limit", "deadline"])
def test_unfinished_chat_exits_with_1(ask: Asking, status: str) -> None:
    with replies({**REPLY, "status": status}) as server:
        ran = ask("q", "--url", server.url)
    assert ran.code == 1
    assert "Not finished" in ran.out


@pytest.mark.parametrize("as_json", [False, True])
def test_problem_is_told_with_its_remedy(ask: Asking, as_json: bool) -> None:
    with replies(PROBLEM, 503, {"Content-Type": "application/problem+json"}) as server:
        ran = ask("q", "--url", server.url, *["--json"] * as_json)
    assert ran.code == 3
    assert "The session pool is full (503, pool_full)" in ran.err
    assert "Every session is taken." in ran.err
    assert "Try again later." in ran.err
    assert ran.out.strip() == (json.dumps(PROBLEM) if as_json else "")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 500, "answered 500 without a body"),
        (b"", 401, "--key"),
        (b"<html>", 200, "not its JSON"),
        (b"[1]", 200, "not its JSON"),
        (b"\xff\xfe", 200, "not its JSON"),
    ],
)
def test_what_is_no_reply_is_told(ask: Asking, body: bytes, status: int, words: str) -> None:
    with replies(body, status) as server:
        ran = ask("q", "--url", server.url)
    assert ran.code == 3
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_redirection_is_not_followed(ask: Asking) -> None:
    with replies(REPLY) as elsewhere, replies(b"", 302, {"Location": elsewhere.url}) as server:
        ran = ask("q", "--url", server.url, "--key", "k")
    assert ran.code == 3
    assert elsewhere.received == []


def test_lost_connection_is_told(ask: Asking) -> None:
    with scripted_server(lambda number, request: Answer(hang_up=True)) as server:
        ran = ask("q", "--url", server.url)
    assert ran.code == 3
    assert "could not be reached" in ran.err
    assert len(server.received) == 1


def test_nobody_there_is_told(ask: Asking) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ran = ask("q", "--url", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert ran.code == 3
    assert "could not be reached" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "message"),
        (["q", "--url", "ftp://host"], "--url"),
        (["q", "--url", "http://[bad"], "--url"),
        (["q", "--url", "http://example.invalid", "--key", "k"], "https only"),
        (["q", "--key", "k"], "--url"),
        (["q", "--session", "s"], "dev.py up"),
        (["q", "--url", "http://127.0.0.1:1", "--file", "missing.csv"], "missing.csv cannot be read"),
        (["q", "--url", "http://127.0.0.1:1", "--file", "a/x", "--file", "b/x"], "same name"),
    ],
)
def test_misuse_exits_with_2(ask: Asking, arguments: list[str], words: str) -> None:
    ran = ask(*arguments)
    assert ran.code == 2
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_files_that_no_host_would_take_exit_with_2(ask: Asking) -> None:
    with (ask.folder / "large.bin").open("wb") as file:
        file.truncate(75_000_001)
    ran = ask("q", "--url", "http://127.0.0.1:1", "--file", "large.bin")
    assert ran.code == 2
    assert "larger than 75 MB" in ran.err


def test_stack_that_is_up_is_found_and_a_proxy_left_aside(ask: Asking) -> None:
    with replies(REPLY) as server:
        ask.state_file.write_text(json.dumps({"url": server.url, "pid": 1}))
        ran = ask("q", "--session", "s", HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert ran.code == 0, ran.err
    assert [request.path for request in server.received] == ["/api/health", "/api/chat"]


def test_stack_that_is_too_busy_for_its_health_is_asked(ask: Asking) -> None:
    asked = threading.Event()

    def answer(number: int, request: Received) -> Answer:
        if request.path == "/api/health":
            asked.wait(30)
        else:
            asked.set()
        return Answer(200, json.dumps(REPLY).encode())

    with scripted_server(answer) as server:
        ask.state_file.write_text(json.dumps({"url": server.url, "pid": 1}))
        ran = ask("q", "--session", "s")
        asked.set()
    assert ran.code == 0, ran.err
    assert [request.path for request in server.received] == ["/api/health", "/api/chat"]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": "http://127.0.0.1:1"}'])
def test_stack_that_is_gone_is_not_asked(ask: Asking, note: str) -> None:
    ask.state_file.write_text(note)
    ran = ask("q", "--session", "s")
    assert ran.code == 2
    assert "No stack is up" in ran.err


def test_real_model_without_sandbox_is_refused(ask: Asking) -> None:
    # On this PATH there is nothing to make a sandbox with.
    ran = ask("q", OPENAI_API_KEY="secret", PATH=str(ask.folder))
    assert ran.code == 2
    assert "--unsafe-no-sandbox" in ran.err
    assert "secret" not in ran.err
