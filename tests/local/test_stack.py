"""The whole stack, with the real parts and the real function app."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from local.choice import Choice, StackRefused
from local.part import Part, PartFailed
from local.stack import HOST, IDENTITY, MODEL, SESSION_POOL, STORAGE, Stack
from tests.local.commands import BOUND_SECONDS, NO_AZURITE, ROOT, announcement, ask, needs_azurite, up
from tests.processes import all_gone, descendants, family
from tests.scripted_server import Answer, scripted_server

MISLEADING = {
    "OAI_CONFIG_LIST": '[{"model": "none", "api_key": "none"}]',
    "AZURE_OPENAI_ENDPOINT": "https://model.invalid",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "POOL_MANAGEMENT_ENDPOINT": "http://127.0.0.1:1/pool",
    "AZURE_CLIENT_ID": "nobody",
    "AZURE_TENANT_ID": "nowhere",
    "AZURE_CLIENT_SECRET": "nothing",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
}

PARTS = {IDENTITY, SESSION_POOL, MODEL, HOST, *([] if NO_AZURITE else [STORAGE])}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack started where other settings would lead elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MISLEADING.items():
            patch.setenv(name, value)
        running = Stack()
        running.start()
    yield running
    running.stop()


def chat(url: str, message: str, **more: object) -> tuple[int, dict[str, Any]]:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.post(f"{url}/api/chat", json={"message": message, **more}, timeout=BOUND_SECONDS)
        body: dict[str, Any] = reply.json()
        return reply.status_code, body


def test_chat_goes_through_all_local_parts(stack: Stack) -> None:
    status, reply = chat(stack.url, "What is 6 * 7?")
    assert status == 200, reply
    assert reply["status"] == "completed"
    assert "42" in reply["result"]
    assert set(stack.pids) == PARTS
    stack.check()


def test_part_comes_back_under_its_address(stack: Stack) -> None:
    before = stack.part_url(SESSION_POOL)
    stack.kill_part(SESSION_POOL)
    with pytest.raises(PartFailed, match="session_pool ended"):
        stack.check()
    assert SESSION_POOL not in stack.pids
    status, reply = chat(stack.url, "What is 6 * 7?")
    assert (status, reply["code"]) == (502, "pool_unreachable")
    stack.start_part(SESSION_POOL)
    assert stack.part_url(SESSION_POOL) == before
    assert chat(stack.url, "What is 6 * 7?")[0] == 200


def finished(status_url: str) -> dict[str, Any]:
    """A run's reply once it has ended."""
    deadline = time.monotonic() + BOUND_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < deadline:
            reply = session.get(f"{status_url}&wait=20", timeout=BOUND_SECONDS)
            if reply.status_code == 200:
                body: dict[str, Any] = reply.json()
                return body
            assert reply.status_code in (202, 503), reply.text
    raise AssertionError("the run did not end")


def start_run(url: str, message: str) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.post(f"{url}/api/runs", json={"message": message}, timeout=BOUND_SECONDS)
    assert reply.status_code == 202, reply.text
    body: dict[str, Any] = reply.json()
    return body


@needs_azurite
def test_run_goes_through_the_queue(stack: Stack) -> None:
    reply = finished(start_run(stack.url, "What is 6 * 7?")["status_url"])
    assert reply["status"] == "completed", reply
    assert "42" in reply["result"]


@needs_azurite
def test_storage_that_is_stopped_and_started_is_found_again(tmp_path: Path) -> None:
    with Stack(storage_args=["--location", str(tmp_path)]) as running:
        before = start_run(running.url, "What is 6 * 7?")
        finished(before["status_url"])
        running.stop_part(STORAGE)
        # Chats need no storage.
        assert chat(running.url, "What is 6 * 7?")[0] == 200
        running.start_part(STORAGE)
        assert finished(before["status_url"])["status"] == "completed"
        assert finished(start_run(running.url, "What is 2 + 2?")["status_url"])["status"] == "completed"


def test_stop_leaves_nothing() -> None:
    with Stack() as running:
        assert set(running.pids) == PARTS
        pids = family(running.pids.values())
    assert all_gone(pids)
    assert running.pids == {}


def test_failed_part_stops_the_others() -> None:
    failing = Stack(pool_args=["--no-such-option"])
    with pytest.raises(PartFailed, match=r"(?s)session_pool ended with exit code 2.*--no-such-option"):
        failing.start()
    assert failing.pids == {}


def test_missing_kernel_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(StackRefused, match=r"dev\.py"):
        Stack(tmp_path / "python").start()


def test_up_serves_asks_that_follow_each_other_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        printed = announcement(process)
        first = ask(tmp_path, "--json", "Run this:\n```python\nkept = 6 * 7\nprint(kept)\n```")
        assert first.returncode == 0, first.stderr
        session = json.loads(first.stdout)["session_id"]
        second = ask(tmp_path, "--session", session, "Run this:\n```python\nprint(kept + 1)\n```")
        assert second.returncode == 0, second.stderr
        assert "43" in second.stdout
        if shutil.which("curl"):
            commands = [f"curl{part.partition('  curl')[2]}" for part in printed.split("\n\n") if "  curl" in part]
            answers = [
                json.loads(subprocess.check_output(["bash", "-c", command], timeout=BOUND_SECONDS))
                for command in commands
            ]
            assert answers[0]["status"] == "completed"
            # The other one starts a run, where there is storage.
            assert len(answers) == (1 if NO_AZURITE else 2)
            assert all(finished(started["status_url"])["status"] == "completed" for started in answers[1:])
        pids = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0
    assert len(pids) >= 4
    assert all_gone(pids)
    assert not (tmp_path / "stack.json").exists()


@needs_azurite
def test_runs_survive_a_restart_of_up(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        announcement(process)
        first = ask(tmp_path, "--run", "--json", "What is 6 * 7?")
        assert first.returncode == 0, first.stderr
        run = json.loads(first.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0
    assert run["status"] == "completed"
    with up(tmp_path) as process:
        announcement(process)
        url = json.loads((tmp_path / "stack.json").read_text())["url"]
        path = run["status_url"].partition("/api/")[2]
        assert finished(f"{url}/api/{path}")["result"] == run["result"]


@needs_azurite
def test_run_without_up_has_a_stack_of_its_own(tmp_path: Path) -> None:
    ran = ask(tmp_path, "--run", "What is 6 * 7?")
    assert ran.returncode == 0, ran.stderr
    assert "=== CodeExecutor, exit code 0" in ran.stdout
    assert "42" in ran.stdout.partition("=== Answer")[2]


def test_run_needs_storage(tmp_path: Path) -> None:
    # On this PATH there is no Node.js.
    ran = ask(tmp_path, "--run", "What is 6 * 7?", PATH=str(tmp_path))
    assert ran.returncode == 2
    assert "A run needs storage. The storage emulator Azurite needs Node.js with npm" in ran.stderr


def test_up_with_two_pools_shows_both_and_leaves_neither(tmp_path: Path) -> None:
    with up(tmp_path, "--pools", "2") as process:
        printed = announcement(process)
        ran = ask(tmp_path, "What is 6 * 7?")
        assert ran.returncode == 0, ran.stderr
        pids = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0
    pools = [line.split()[-1] for line in printed.splitlines() if line.strip().startswith("session pool")]
    assert len(set(pools)) == 2
    assert all_gone(pids)


def test_up_has_no_local_pools_beside_those_that_are_configured(tmp_path: Path) -> None:
    with up(tmp_path, "--pools", "2", POOL_MANAGEMENT_ENDPOINT="https://pool.example") as process:
        assert process.wait(BOUND_SECONDS) == 2
    told = (tmp_path / "err").read_text()
    assert "POOL_MANAGEMENT_ENDPOINT names the pools to use" in told
    assert "pool.example" not in told


def test_up_without_storage_says_what_is_missing(tmp_path: Path) -> None:
    with up(tmp_path, PATH=str(tmp_path)) as process:
        printed = announcement(process)
    assert "/api/runs" not in printed
    told = (tmp_path / "err").read_text()
    assert "Storage: none, so there are chats, but no runs. The storage emulator Azurite needs Node.js" in told
    assert "Function carry_out_run does not run: the setting AzureWebJobsStorage is missing." in told


@needs_azurite
def test_storage_that_does_not_start_leaves_the_chats(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("in the way")
    with up(tmp_path) as process:
        printed = announcement(process)
        answer = ask(tmp_path, "What is 6 * 7?")
    assert answer.returncode == 0, answer.stderr
    assert "/api/runs" not in printed
    told = (tmp_path / "err").read_text()
    assert "Storage: none, so there are chats, but no runs. azurite ended with exit code 1." in told


def test_killed_up_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        announcement(process)
        pids = descendants(process.pid)
        process.kill()
        process.wait(BOUND_SECONDS)
    assert len(pids) >= 4
    assert all_gone(pids)


def test_one_off_stack_answers_and_is_gone(tmp_path: Path) -> None:
    ran = ask(tmp_path, "What is 6 * 7?")
    assert ran.returncode == 0, ran.stderr
    assert "42" in ran.stdout
    assert "The session ended with this answer" in ran.stdout


@contextmanager
def part(name: str, arguments: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """One part on its own, in place of something real; gives the settings that lead to it."""
    command = [sys.executable, "-m", f"local.{name}", "--with-parent", *arguments]
    running = Part(name, command, environment=os.environ, folder=ROOT, keep_log=True)
    try:
        yield running.wait_ready(BOUND_SECONDS)["env"]
    finally:
        running.stop()


def test_configured_model_is_asked_in_place_of_the_stand_in(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(["```python\nprint(2 ** 10)\n```", "The configured model says 1024.\n\nTERMINATE"]))
    with part("model", ["--script", str(script)]) as settings:
        ran = ask(tmp_path, "--unsafe-no-sandbox", "Write me a poem", **settings)
    assert ran.returncode == 0, ran.stderr
    assert "The configured model says 1024." in ran.stdout
    assert "no sandbox" in ran.stderr
    assert "stand-in" not in ran.stderr


def test_configured_pool_is_asked_in_place_of_the_local_one() -> None:
    refusal = json.dumps({"error": {"code": "Forbidden", "message": "no role"}}).encode()
    with scripted_server(lambda number, request: Answer(403, refusal)) as pool, part("identity") as identity:
        settings = {**identity, "POOL_MANAGEMENT_ENDPOINT": f"{pool.url}/pools/mine"}
        with Stack(choice=Choice(local_pool=False), host_env=settings) as running:
            assert set(running.pids) == {MODEL, HOST}
            status, reply = chat(running.url, "What is 6 * 7?")
    assert (status, reply["code"]) == (502, "pool_forbidden"), reply
    assert {request.path.partition("?")[0] for request in pool.received} <= {
        "/pools/mine/session",
        "/pools/mine/executions",
    }
    assert all(request.headers["authorization"].startswith("Bearer ") for request in pool.received)
    assert pool.received
