"""What the local session pool costs, beside a bare kernel in the same run.

    .venv/bin/python -m bench.pool

in the project's folder, after `python3 dev.py test` or `ask`, which install what it needs. With bubblewrap the
sessions are sandboxed, as everywhere. Takes about a quarter of an hour, most of it for the thousand sessions.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import write_connection_file

from bench.measure import CODE, Connection, Figure, execute, milliseconds, new_id, percentile, query, show, show_head
from local.part import Part
from local.session_pool import sandbox
from local.stack import session_python
from tests.processes import descendants, family

ROOT = Path(__file__).resolve().parents[1]
EXECUTIONS, NEW, STARTS, SESSIONS, ROUNDS, CREATED = 300, 20, 7, 50, 6, 1000
# Long enough for the emulator to have its spare sessions again.
REFILL_SECONDS = 3.0
SLEEP_CODE = "import time; time.sleep(30); print(6 * 7)"
WITHOUT_SANDBOX = () if not sandbox.missing() else ("--trusted-code-only",)


@contextmanager
def emulator(*options: str) -> Iterator[tuple[Part, Connection]]:
    """A running emulator, and a connection to its pool with a token."""
    part = started(*options)
    try:
        yield part, connected(part)
    finally:
        part.stop()


def started(*options: str) -> Part:
    """The emulator's process, which may not be ready yet."""
    command = [sys.executable, "-m", "local.session_pool", "--with-parent", *WITHOUT_SANDBOX, *options]
    environment = {**os.environ, "SESSION_PYTHON": str(session_python())}
    return Part("session_pool", command, environment=environment, folder=ROOT, keep_log=True)


def connected(part: Part) -> Connection:
    """A connection to a part's pool, once it is ready."""
    variables = part.wait_ready(60)["env"]
    asked = urlencode({"resource": "https://dynamicsessions.io", "api-version": "2019-08-01"})
    identity = Connection(variables["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]})
    token = identity.send("GET", f"?{asked}")["access_token"]
    return Connection(variables["POOL_MANAGEMENT_ENDPOINT"], {"Authorization": f"Bearer {token}"})


def starts() -> Iterator[Figure]:
    """From the process's start to its first reply, with sessions being warmed behind it."""
    taken = []
    for _ in range(STARTS):
        start = time.perf_counter()
        part = started()
        try:
            connected(part).send("GET", f"/listSessions?{urlencode({'api-version': '2025-10-02-preview'})}")
            taken.append(time.perf_counter() - start)
        finally:
            part.stop()
    told = f"slowest {max(taken):.2f} s of {STARTS}; bare `python -c pass` {bare_python():.2f} s"
    yield Figure("start to first reply, median", statistics.median(taken), "s", 1.0, told)


def bare_python() -> float:
    """How long an interpreter takes that does nothing."""
    return milliseconds(lambda: subprocess.check_call([sys.executable, "-c", "pass"])) / 1000


def executions(pool: Connection) -> Iterator[Figure]:
    """`print` in a known session over HTTP, in turns with the same on a bare kernel of the same interpreter."""
    known = new_id()
    execute(pool, known)
    over_http, bare = asyncio.run(in_turns(pool, known))
    ratio = statistics.median(over_http) / statistics.median(bare)
    told = (
        f"{statistics.median(over_http):.1f} ms (p95 {percentile(over_http, 95):.1f}) against "
        f"{statistics.median(bare):.1f} ms (p95 {percentile(bare, 95):.1f}) on a bare jupyter_client kernel; "
        f"{EXECUTIONS} pairs"
    )
    yield Figure("print over HTTP / on a bare kernel, medians", ratio, "", 2.0, told)


async def in_turns(pool: Connection, known: str) -> tuple[list[float], list[float]]:
    """Milliseconds of each execution over HTTP and on a kernel of this process."""
    over_http, bare = [], []
    async with bare_kernel() as client:
        for _ in range(EXECUTIONS):
            start = time.perf_counter()
            await client.execute_interactive(CODE, output_hook=lambda message: None)
            bare.append(1000 * (time.perf_counter() - start))
            over_http.append(milliseconds(lambda: execute(pool, known)))
    return over_http, bare


@asynccontextmanager
async def bare_kernel() -> AsyncIterator[AsyncKernelClient]:
    """A kernel of the sessions' interpreter with nothing around it."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        connection, _ = write_connection_file(f"{folder}/kernel.json", transport="ipc", ip=f"{folder}/k")
        with subprocess.Popen([str(session_python()), "-m", "ipykernel_launcher", "-f", connection]) as process:
            client = AsyncKernelClient()
            client.load_connection_file(connection)
            client.start_channels()
            try:
                await client.wait_for_ready(timeout=60)
                yield client
            finally:
                client.stop_channels()
                process.kill()


def new_sessions(pool: Connection) -> Iterator[Figure]:
    """The first answer of a session that finds a kernel ready, and of one that does not."""
    warm = []
    for _ in range(NEW):
        time.sleep(REFILL_SECONDS)
        warm.append(milliseconds(lambda: execute(pool, new_id())))
    with emulator("--prewarmed", "0") as (_, cold_pool):
        cold = [milliseconds(lambda: execute(cold_pool, new_id())) for _ in range(5)]
    told = f"p95 {percentile(warm, 95):.1f} ms of {NEW}; without a kernel ready {statistics.median(cold):.0f} ms"
    yield Figure("new session from the prewarmed pool, median", statistics.median(warm), "ms", 30, told)


def neighbours(part: Part, pool: Connection) -> Iterator[Figure]:
    """Fifty sessions at once, with and without one of them in `time.sleep(30)`."""
    connections = [Connection(pool.url, pool.headers) for _ in range(SESSIONS + 1)]
    sessions = [new_id() for _ in connections]
    pairs = list(zip(connections, sessions, strict=True))
    for start in range(0, len(pairs), 5):
        at_once(pairs[start : start + 5])
    idle = pss_megabytes(part.pid) / len(pairs)
    quiet = [value for _ in range(ROUNDS) for value in at_once(pairs[1:])]
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(execute, *pairs[0], SLEEP_CODE)
        beside = [value for _ in range(ROUNDS) for value in at_once(pairs[1:])]
        slept_through = not slow.done()
        slow.result(60)
    if not slept_through:
        raise RuntimeError("The slow neighbour was not asleep all the time.")
    change = percentile(beside, 95) / percentile(quiet, 95)
    told = (
        f"p95 {percentile(beside, 95):.0f} ms against {percentile(quiet, 95):.0f} ms without it; {SESSIONS} sessions "
        f"at once, {ROUNDS} rounds"
    )
    yield Figure("others' p95 beside a sleeping session / without", change, "", 1.2, told)
    yield Figure("memory of an idle session (PSS)", idle, "MiB", None, f"of {len(pairs)} sessions, emulator included")


def at_once(pairs: Sequence[tuple[Connection, str]]) -> list[float]:
    """Milliseconds of one execution in each session, all started together."""
    with ThreadPoolExecutor(len(pairs)) as threads:
        return list(threads.map(lambda pair: milliseconds(lambda: execute(*pair)), pairs))


def growth(part: Part, pool: Connection) -> Iterator[Figure]:
    """What stays behind of a thousand sessions created, used and deleted."""

    def one(connection: Connection) -> None:
        identifier = new_id()
        execute(connection, identifier)
        connection.send("DELETE", f"/session?{query(identifier)}")

    workers = [Connection(pool.url, pool.headers) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            list(threads.map(one, workers))
        before = status(part.pid)
        for _ in range(CREATED // 2):
            list(threads.map(one, workers))
    after = status(part.pid)
    told = ", ".join(f"{name} {before[name]:g} to {after[name]:g}" for name in before)
    yield Figure(f"memory grown over {CREATED} sessions", after["MiB"] - before["MiB"], "MiB", 10, told)


def status(pid: int) -> dict[str, float]:
    """Memory, open files, processes below and control groups of a process."""
    groups = Path("/sys/fs/cgroup/pids")
    return {
        "MiB": round(resident_kilobytes(pid) / 1024, 1),
        "open files": len(os.listdir(f"/proc/{pid}/fd")),
        "processes": len(descendants(pid)),
        "control groups": sum(1 for path in groups.rglob(f"session-pool-{pid}-*")) if groups.exists() else 0,
    }


def resident_kilobytes(pid: int) -> int:
    """What a process holds in memory."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def pss_megabytes(pid: int) -> float:
    """What a process and all below it hold in memory, what they share counted once."""
    total = 0
    for member in family([pid]):
        lines = Path(f"/proc/{member}/smaps_rollup").read_text("utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def main() -> int:
    """Measures everything."""
    show_head()
    show(starts())
    with emulator() as (part, pool):
        show(executions(pool))
        show(new_sessions(pool))
        show(neighbours(part, pool))
    with emulator() as (part, pool):
        show(growth(part, pool))
    return 0


if __name__ == "__main__":
    sys.exit(main())
