"""The commands of the session pool's own page do what it says; its Python examples run in tests/clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.session_pool import sandbox
from local.session_pool.config import read
from local.session_pool.fixture import RunningPool, running_pool
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.needs import give_up

ROOT = Path(__file__).parents[3]
README = (ROOT / "local" / "session_pool" / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    kernel_python()
    with running_pool(["--trusted-code-only"] if sandbox.missing() else []) as running:
        yield running


def block_with(words: str) -> str:
    """The fenced block that contains these words."""
    blocks: list[str] = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if words in block)


def bash(script: str, *, bound: float = 60) -> str:
    if shutil.which("curl") is None:
        give_up("curl is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=bound,
        check=True,
    )
    return done.stdout


def test_curl_gets_a_token_and_the_answer(pool: RunningPool) -> None:
    reply = json.loads(bash(block_with("TOKEN=$(curl")))
    assert (reply["status"], reply["result"]["executionResult"]) == ("Succeeded", 42)


def test_fault_is_set_by_curl_and_met_once(pool: RunningPool) -> None:
    set_rule = json.loads(bash(block_with("/.local/faults")))
    assert set_rule["faults"][0]["status"] == 403
    assert json.loads(bash(block_with("TOKEN=$(curl")))["error"]["code"] == "Forbidden"
    assert json.loads(bash(block_with("TOKEN=$(curl")))["status"] == "Succeeded"


@pytest.mark.parametrize("words", ["dev.py pool\n", "--fault status=429"])
def test_pool_starts_as_shown(words: str) -> None:
    isolation(sandboxed=True)
    command = block_with(words).split()[2:]
    assert command[0] == "pool"
    shown = [re.sub(r"=.*", "=", line) for line in block_with("is ready").splitlines()]
    # dev.py's own part, the installation, is what has made this environment.
    process = subprocess.Popen(
        [sys.executable, "-m", "local.session_pool", *command[1:], "--kernel-python", kernel_python()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            printed = [re.sub(r"=.*", "=", process.stdout.readline().rstrip("\n")) for _ in shown]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert printed == shown


def test_example_of_a_config_file_is_one(tmp_path: Path) -> None:
    text = re.search(r"`(\{\"pools\": .*?\]\})`", README)
    assert text is not None
    path = tmp_path / "pools.json"
    path.write_text(text[1], "utf-8")
    assert [pool.name for pool in read(path)] == ["python"]
