"""A pytest fixture for other projects: `pytest_plugins = ["local.session_pool.fixture"]`, with this project on the path.

    def test_my_tool(session_pool):
        tool = MyTool(pool_management_endpoint=session_pool.endpoint)

While it runs, the environment leads azure-identity to the emulator's own identity endpoint. To choose options of
`python -m local.session_pool`, override the fixture `session_pool_options`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.part import Part
from local.session_pool import sandbox

READY_SECONDS = 60.0


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


@pytest.fixture(scope="session")
def session_pool_options() -> Sequence[str]:
    """Options of the emulator; without a sandbox on this machine a test's own code may run unprotected."""
    return ["--trusted-code-only"] if sandbox.missing() else []


@pytest.fixture(scope="session")
def session_pool(session_pool_options: Sequence[str]) -> Iterator[RunningPool]:
    """An emulator that runs for the whole test session."""
    command = [sys.executable, "-m", "local.session_pool", "--json", "--with-parent", *session_pool_options]
    project = Path(__file__).resolve().parents[2]
    part = Part("session_pool", command, environment=dict(os.environ), folder=project, keep_log=True)
    try:
        ready = part.wait_ready(READY_SECONDS)
        running = RunningPool(ready["env"]["POOL_MANAGEMENT_ENDPOINT"], ready["endpoints"], ready["env"])
        with pytest.MonkeyPatch.context() as patch:
            for name, value in running.environment.items():
                patch.setenv(name, value)
            yield running
    finally:
        part.stop()
