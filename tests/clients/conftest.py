"""Starts the emulator, on the main project's interpreter, for the tests of one published client.

Each client is installed in an environment of its own from `requirements-<client>.txt`; there, `pytest test_<client>.py`
runs its tests. `POOL_PYTHON` names the emulator's interpreter (`.venv/bin/python` of the repository by default) and
`SESSION_PYTHON`, which is passed on to the emulator, that of the sessions' kernels.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from local.session_pool import sandbox
from local.session_pool.fixture import running_pool

TEST_SECONDS = 60
README = Path(__file__).parents[2] / "local" / "session_pool" / "README.md"

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


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> Iterator[str]:
    """The pool management endpoint of an emulator that runs with the options given as indirect parameter.

    While it runs, this process's environment leads azure-identity to it, and with `--tls` clients to its certificate.
    """
    # The code is the tests' own: without a sandbox it may run unprotected.
    protection = ["--trusted-code-only"] if sandbox.missing() else []
    with running_pool([*protection, *getattr(request, "param", ())]) as running:
        yield running.endpoint


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


@pytest.fixture
def readme_prints(pool: str) -> Callable[[str], str]:
    """What the Python example of the pool's README with these words prints."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)

    def run(words: str) -> str:
        [code] = [block for block in blocks if words in block]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
