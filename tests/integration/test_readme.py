"""The README's commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack import Stack

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
