"""The whole stack, with the real parts and the real function app."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from local.choice import MODEL_SETTINGS, StackRefused
from local.part import PartFailed
from local.stack import HOST, IDENTITY, MODEL, SESSION_POOL, Stack
from tests.processes import all_gone, descendants, family

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 60
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
    assert set(stack.pids) == {IDENTITY, SESSION_POOL, MODEL, HOST}
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


def test_stop_leaves_nothing() -> None:
    with Stack() as running:
        assert set(running.pids) == {IDENTITY, SESSION_POOL, MODEL, HOST}
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


@contextmanager
def up(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m local up` on a free port, once it is ready."""
    unset = dict.fromkeys((*MODEL_SETTINGS, "POOL_MANAGEMENT_ENDPOINT"), "")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "func").exists())
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "up", "--port", "0", "--state-file", str(folder / "stack.json")],
            cwd=ROOT,
            env={**os.environ, **unset, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", "ask", "--state-file", str(folder / "stack.json"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )


def test_up_serves_asks_that_follow_each_other_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        printed = "".join(read_announcement(process))
        first = ask(tmp_path, "--json", "Run this:\n```python\nkept = 6 * 7\nprint(kept)\n```")
        assert first.returncode == 0, first.stderr
        session = json.loads(first.stdout)["session_id"]
        second = ask(tmp_path, "--session", session, "Run this:\n```python\nprint(kept + 1)\n```")
        assert second.returncode == 0, second.stderr
        assert "43" in second.stdout
        if shutil.which("curl"):
            command = printed[printed.index("  curl") :].partition("\n\n")[0]
            answer = subprocess.check_output(["bash", "-c", command], text=True, timeout=BOUND_SECONDS)
            assert json.loads(answer)["status"] == "completed"
        pids = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0
    assert len(pids) >= 4
    assert all_gone(pids)
    assert not (tmp_path / "stack.json").exists()


def test_killed_up_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path) as process:
        read_announcement(process)
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


def read_announcement(process: subprocess.Popen[str]) -> list[str]:
    """What `up` prints when it is ready."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            return lines
    raise AssertionError("up ended before it was ready")
