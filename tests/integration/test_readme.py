"""The README's commands do what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from local import azurite
from local.stack import Stack
from tests.needs import need

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block_with(words: str) -> str:
    """The fenced block of the README that contains these words."""
    blocks: list[str] = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if words in block)


def environment(stack: Stack) -> dict[str, str]:
    """The environment of a program that uses the stack's pool and identity."""
    return {**os.environ, **stack.ready("identity")["env"], **stack.ready("session_pool")["env"]}


def test_the_first_screen_comes_true() -> None:
    command = shlex.split(block_with("dev.py ask"))
    assert command[:3] == ["python3", "dev.py", "ask"]
    expected = block_with("=== Question")
    # dev.py's own part, the installation, is what has made this environment.
    done = subprocess.run(
        [sys.executable, "-m", "local", "ask", *command[3:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    assert expected.strip() in lines


def test_the_curl_line_draws_a_plot(stack: Stack) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = shlex.split(block_with("curl -s").replace("http://localhost:7071", stack.url))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert '"name": "plot.png"' in done.stdout


def test_the_runs_curl_line_starts_one_run(stack: Stack) -> None:
    need(azurite.missing())
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = shlex.split(block_with("curl -si").replace("http://localhost:7071", stack.url).replace("\\\n", ""))
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        head, _, body = done.stdout.replace("\r", "").partition("\n\n")
        assert head.startswith("HTTP/1.1 202")
        assert f"location: {json.loads(body)['status_url']}" in head
    assert len(requests.get(f"{stack.url}/api/runs", timeout=30).json()["runs"]) == 1


def test_the_python_example_prints_the_answer(stack: Stack) -> None:
    code = block_with("requests.post(").replace("http://localhost:7071", stack.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("completed This is what the file holds:")
    assert "2 rows, 2 columns: city, sales" in done.stdout


def test_the_executor_on_its_own_works_as_shown(stack: Stack) -> None:
    code = block_with("with ACASessionsExecutor(").replace(
        "https://<region>.dynamicsessions.io/subscriptions/...", environment(stack)["POOL_MANAGEMENT_ENDPOINT"]
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=environment(stack),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "city,sales\nOslo,3" in done.stdout
    assert "path='sales.csv'" in done.stdout
