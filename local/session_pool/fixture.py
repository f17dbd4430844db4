"""A pytest fixture for other projects, with this one on the path: `pytest_plugins = ["local.session_pool.fixture"]`.

    def test_my_tool(session_pool):
        tool = MyTool(pool_management_endpoint=session_pool.endpoint)

While it runs, the environment leads azure-identity to the emulator's own identity endpoint. To choose options of
`python -m local.session_pool`, override the fixture `session_pool_options`. The emulator runs on the interpreter that
`POOL_PYTHON` names, by default that of this project's `.venv` (`python3 dev.py pool` makes it); the tests' own
environment needs pytest only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.part import Part
from local.session_pool import sandbox

READY_SECONDS = 60.0
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunningPool:
    """A running emulator.

    Attributes:
        endpoint: the pool management endpoint, of the first pool.
        endpoints: of all its pools, by name.
        environment: the variables that a client needs.
    """

    endpoint: str
    endpoints: dict[str, str]
    environment: dict[str, str]


@contextmanager
def running_pool(options: Sequence[str] = ()) -> Iterator[RunningPool]:
    """An emulator in a process of its own; this process's environment leads to it meanwhile.

    Without a sandbox on this machine the test is skipped, unless an option says to do without.

    Args:
        options: of `python -m local.session_pool`.

    Raises:
        PartFailed: it did not become ready.
    """
    reason = sandbox.missing()
    if reason and not {"--trusted-code-only", "--unsafe-no-sandbox"} & set(options):
        pytest.skip(
            f"{reason} Or override session_pool_options with --trusted-code-only, if the tests' code is your own."
        )
    command = [_python(), "-m", "local.session_pool", "--json", "--with-parent", *options]
    part = Part("session_pool", command, environment=dict(os.environ), folder=PROJECT, keep_log=True)
    try:
        ready = part.wait_ready(READY_SECONDS)
        with pytest.MonkeyPatch.context() as patch:
            # A developer's own service principal would come before the managed identity.
            for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
                patch.delenv(name)
            for name, value in {**ready["env"], "NO_PROXY": "127.0.0.1,localhost"}.items():
                patch.setenv(name, value)
            yield RunningPool(ready["env"]["POOL_MANAGEMENT_ENDPOINT"], ready["endpoints"], ready["env"])
    finally:
        part.stop()


@pytest.fixture(scope="session")
def session_pool_options() -> Sequence[str]:
    """Options of the emulator: none."""
    return ()


@pytest.fixture(scope="session")
def session_pool(session_pool_options: Sequence[str]) -> Iterator[RunningPool]:
    """An emulator that runs for the whole test session."""
    with running_pool(session_pool_options) as running:
        yield running


def _python() -> str:
    """The emulator's interpreter: not necessarily that of the tests."""
    own = PROJECT / ".venv" / "bin" / "python"
    return os.environ.get("POOL_PYTHON") or (str(own) if own.exists() else sys.executable)
