"""Core Tools as a part, with a `func` of our own on the PATH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.part import Part, PartFailed
from tests.local.commands import BOUND_SECONDS, ROOT, announcement, up
from tests.processes import all_gone, descendants

# Answers the health route like the app would, and notes how it was started.
FUNC = """#!{python}
import http.server, json, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(),
            "worker": os.environ["FUNCTIONS_WORKER_RUNTIME"]}}).encode())
    def log_message(self, *args):
        pass
print("Functions:", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


COMMAND = [sys.executable, "-m", "local.core_tools", "--port", "0", "--with-parent", "--app-dir"]


def with_func(folder: Path, func: str) -> dict[str, str]:
    """An environment whose PATH has this `func` first."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "func").write_text(func)
    (tools / "func").chmod(0o755)
    return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def started(folder: Path, func: str) -> Iterator[Part]:
    environment = with_func(folder, func)
    part = Part("functions_host", [*COMMAND, str(folder)], environment=environment, folder=ROOT, keep_log=True)
    try:
        yield part
    finally:
        part.stop()


def health(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/health", timeout=BOUND_SECONDS) as reply:
        seen: dict[str, Any] = json.loads(reply.read())
        return seen


def test_func_runs_in_the_app_folder_until_stopped(tmp_path: Path) -> None:
    with started(tmp_path, FUNC.format(python=sys.executable)) as part:
        url = part.wait_ready(BOUND_SECONDS)["url"]
        seen = health(url)
        assert seen["argv"] == ["start", "--port", url.rpartition(":")[2]]
        assert (seen["cwd"], seen["worker"]) == (str(tmp_path), "python")
        assert "Functions:" in part.log()
    with pytest.raises(ProcessLookupError):
        os.kill(seen["pid"], 0)


def test_func_ends_when_standard_input_closes(tmp_path: Path) -> None:
    environment = with_func(tmp_path, FUNC.format(python=sys.executable))
    with subprocess.Popen(
        [*COMMAND, str(tmp_path)], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = health(json.loads(process.stdout.readline())["url"])
        process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(seen["pid"], 0)


def test_func_that_fails_is_told(tmp_path: Path) -> None:
    failing = "#!/bin/sh\necho no bundle\nexit 5\n"
    with started(tmp_path, failing) as part, pytest.raises(PartFailed, match=r"(?s)exit code 5.*no bundle"):
        part.wait_ready(BOUND_SECONDS)


def test_up_runs_func_where_it_is_installed(tmp_path: Path) -> None:
    with_func(tmp_path, FUNC.format(python=sys.executable))
    with up(tmp_path, tools=tmp_path / "tools") as process:
        printed = announcement(process)
        url = json.loads((tmp_path / "stack.json").read_text())["url"]
        assert f"function app (func)    {url}" in printed
        seen = health(url)
        pids = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0
    assert seen["argv"] == ["start", "--port", url.rpartition(":")[2]]
    assert seen["cwd"] == str(ROOT)
    assert seen["pid"] in pids
    assert all_gone(pids)
