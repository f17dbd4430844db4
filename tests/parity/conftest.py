"""One endpoint for all these tests: the emulator as a process, or a real pool.

    POOL_ENDPOINT=https://<region>.dynamicsessions.io/subscriptions/... python -m pytest tests/parity

runs them against that pool, signed in by azure-identity's `DefaultAzureCredential`, which needs the role *Azure
ContainerApps Session Executor*. Identifiers are fresh and sessions are deleted at the end. What a real pool cannot give
(versions that may be retired, other kinds of pool, faults, clocks, a full pool) is marked `local_only` and skipped.

A test that fails there says something about us, not about the service. Where `docs/session_pool_parity.md` calls its
requirement an assumption, we have now learned better: correct the requirement, then the emulator.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.identity import DefaultAzureCredential

from local.session_pool import sandbox
from tests.parity.pool import Emulator, Pool, emulator, give_up

REAL_POOL = os.environ.get("POOL_ENDPOINT", "")
BRIEF_SECONDS = 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what a real pool cannot give, when there is one."""
    marker = item.get_closest_marker("local_only")
    if marker and REAL_POOL:
        pytest.skip(f"not against a real pool: {marker.args[0]}")


@pytest.fixture(scope="session")
def local() -> Iterator[Emulator]:
    """The emulator with a pool of the default kind."""
    with emulator("--prewarmed", "3") as running:
        yield running


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """The pool that is looked at."""
    if REAL_POOL:
        credential = DefaultAzureCredential()
        found = Pool(REAL_POOL, lambda scope: credential.get_token(scope).token)
    else:
        found = request.getfixturevalue("local").pool()
    yield found
    found.delete_sessions()


@pytest.fixture(scope="module")
def session(pool: Pool) -> str:
    """The identifier of a session that the tests of a module share."""
    return pool.new_identifier()


@pytest.fixture
def fresh(pool: Pool) -> Iterator[str]:
    """The identifier of a session that only this test knows."""
    identifier = pool.new_identifier()
    yield identifier
    pool.delete_sessions([identifier])


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator of other pools: Shell, NodeLTS, a small one, one that forgets soon, one with network."""
    if shutil.which("node") is None:
        give_up("a NodeLTS pool needs node")
    pools: list[dict[str, object]] = [
        {"name": "shell", "containerType": "Shell", "prewarmed": 1},
        {"name": "node", "containerType": "NodeLTS", "prewarmed": 1},
        {"name": "small", "maxConcurrentSessions": 1, "prewarmed": 0},
        {"name": "brief", "cooldownPeriodInSeconds": BRIEF_SECONDS, "prewarmed": 0},
        {"name": "open", "egress": True, "prewarmed": 0},
    ]
    config = tmp_path_factory.mktemp("pools") / "pools.json"
    config.write_text(json.dumps({"pools": pools}), "utf-8")
    with emulator("--config", str(config)) as running:
        yield running


@pytest.fixture(scope="session")
def lenient() -> Iterator[Emulator]:
    """An emulator that forgives, asks for no token and speaks https."""
    with emulator("--loose", "--auth", "none", "--tls", "--prewarmed", "0") as running:
        yield running


@pytest.fixture(scope="session")
def lenient_shell() -> Iterator[Emulator]:
    """A Shell pool that forgives."""
    with emulator("--loose", "--kind", "Shell", "--prewarmed", "0") as running:
        yield running


@pytest.fixture
def _sandboxed() -> None:
    """For tests of what only a sandbox holds; a real pool has one of its own."""
    if not REAL_POOL and (reason := sandbox.missing()):
        give_up(reason)


@pytest.fixture
def host_file(tmp_path: Path) -> Path:
    """A file of this machine that no session may see."""
    path = tmp_path / "secret.txt"
    path.write_text("of the host", "utf-8")
    return path
