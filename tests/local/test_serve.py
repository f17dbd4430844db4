"""How a part ends: in order, also when it is told to by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_puts_everything_away(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "local.session_pool", "--json", "--tls", "--kind", "Shell", "--trusted-code-only"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert any(tmp_path.glob("session-pool-*/server.key"))
            process.send_signal(number)
            assert process.wait(BOUND_SECONDS) == 0
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


def test_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "local.identity"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with first:
        try:
            assert first.stdout is not None
            port = first.stdout.readline().partition("127.0.0.1:")[2].partition('"')[0]
            command = [
                sys.executable,
                "-m",
                "local.session_pool",
                "--port",
                port,
                "--trusted-code-only",
                "--kind",
                "Shell",
            ]
            second = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False
            )
        finally:
            first.kill()
    assert second.returncode == 1
    assert "cannot be used" in second.stderr
    assert "Traceback" not in second.stderr
