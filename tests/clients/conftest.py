"""Starts the emulator, on the main project's interpreter, for the tests of one published client.

Each client is installed in an environment of its own from `requirements-<client>.txt`; there, `pytest test_<client>.py`
runs its tests. `POOL_PYTHON` names the emulator's interpreter (`.venv/bin/python` of the repository by default) and
`SESSION_PYTHON`, which is passed on to the emulator, that of the sessions' kernels.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
TEST_SECONDS = 60
LOG_CHARACTERS_SHOWN = 3000

# Where a client is not installed its tests are not collected, unless its file is named.
_CLIENTS = {
    "test_autogen.py": "autogen_ext",
    "test_deepagents.py": "deepagents",
    "test_langchain.py": "langchain_azure_dynamic_sessions",
    "test_langchain_bash.py": "langchain_azure_dynamic_sessions",
    "test_llamaindex.py": "llama_index",
    "test_semantic_kernel.py": "semantic_kernel",
}
collect_ignore = [file for file, package in _CLIENTS.items() if find_spec(package) is None]


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[str]:
    """The pool management endpoint of an emulator that runs with the options given as indirect parameter.

    While it runs, this process's environment leads azure-identity to it, and with `--tls` clients to its certificate.
    """
    with _emulator(getattr(request, "param", ())) as variables, pytest.MonkeyPatch.context() as environment:
        # A developer's own service principal would come before the managed identity.
        for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
            environment.delenv(name)
        environment.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name, value in variables.items():
            environment.setenv(name, value)
        yield variables["POOL_MANAGEMENT_ENDPOINT"]


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Ends a test that hangs: most of the clients send their requests without a time-out."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"The test took longer than {TEST_SECONDS} s.")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@contextmanager
def _emulator(options: Sequence[str]) -> Iterator[dict[str, str]]:
    python = os.environ.get("POOL_PYTHON") or str(REPOSITORY / ".venv/bin/python")
    # The code is the tests' own: without bubblewrap it may run unprotected.
    sandbox = [] if shutil.which("bwrap") else ["--trusted-code-only"]
    command = [python, "-m", "local.session_pool", "--json", "--with-parent", *sandbox, *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield _ready(process, log)
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[str], log: IO[bytes]) -> dict[str, str]:
    """The variables of the emulator's ready line."""
    assert process.stdout
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True).start()
    try:
        line = lines.get(timeout=READY_SECONDS)
    except queue.Empty:
        line = ""
    if not line:
        log.seek(0)
        pytest.fail("The emulator did not start:\n" + log.read().decode(errors="replace")[-LOG_CHARACTERS_SHOWN:])
    variables: dict[str, str] = json.loads(line)["env"]
    return variables


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    finally:
        process.stdout.close()
