"""A pool's sessions with real kernels: allocation, cooldown, lost kernels, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from local.session_pool.errors import Refusal
from local.session_pool.kernel import Outcome
from local.session_pool.sessions import SessionPool
from local.session_pool.wire import ExecutionRequest
from tests.local.session_pool.kernels import kernel_python
from tests.processes import all_gone

A, B = "session-a", "session-b"
BOUND_SECONDS = 90


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def with_pool(
    use: Callable[[SessionPool], Awaitable[None]], *, most: int = 100, prewarmed: int = 0, clock: Clock | None = None
) -> None:
    async def main() -> None:
        pool = SessionPool(
            kernel_python(), max_sessions=most, cooldown_seconds=300, prewarmed=prewarmed, clock=clock or Clock()
        )
        async with pool:
            await asyncio.wait_for(use(pool), BOUND_SECONDS)

    asyncio.run(main())


async def run(pool: SessionPool, identifier: str, code: str, timeout: float = 30) -> Outcome:
    session, _ = await pool.enter(identifier)
    request = ExecutionRequest(code, timeout, False, 4096)
    return (await pool.execute(session, request, f"e{len(session.records)}")).outcome


def test_sessions_are_apart_and_keep_their_variables() -> None:
    async def use(pool: SessionPool) -> None:
        assert [(await pool.enter(A))[1], (await pool.enter(A))[1]] == [True, False]
        await run(pool, A, "x = 1")
        assert (await run(pool, A, "x")).result == 1
        assert "NameError" in (await run(pool, B, "x")).stderr

    with_pool(use)


def test_calls_at_once_share_one_new_session_and_run_one_after_the_other() -> None:
    async def use(pool: SessionPool) -> None:
        entered = await asyncio.gather(*(pool.enter(A) for _ in range(5)))
        assert sorted(new for _, new in entered) == [False] * 4 + [True]
        assert len({id(session) for session, _ in entered}) == 1
        await run(pool, A, "n = 0")
        step = "seen = n\nimport time\ntime.sleep(0.01)\nn = seen + 1"
        await asyncio.gather(*(run(pool, A, step) for _ in range(5)))
        assert (await run(pool, A, "n")).result == 5

    with_pool(use)


def test_full_pool_refuses_new_sessions_only() -> None:
    async def use(pool: SessionPool) -> None:
        await pool.enter(A)
        with pytest.raises(Refusal) as refusal:
            await pool.enter(B)
        assert (refusal.value.status, refusal.value.flat) == (429, True)
        assert (await run(pool, A, "1")).result == 1
        await pool.delete(A)
        assert (await pool.enter(B))[1]

    with_pool(use, most=1)


def test_cooldown_frees_a_session_and_every_call_starts_it_again() -> None:
    clock = Clock()

    async def use(pool: SessionPool) -> None:
        await run(pool, A, "import os\nx = 1")
        pid = (await run(pool, A, "os.getpid()")).result
        clock.now += 299
        pool.find(A)
        clock.now += 299
        assert (await run(pool, A, "x")).result == 1
        clock.now += 300
        with pytest.raises(Refusal) as refusal:
            pool.find(A)
        assert refusal.value.status == 404
        await pool.free_expired()
        assert all_gone([pid])
        assert (await pool.enter(A))[1]

    with_pool(use, clock=clock)


def test_timeout_keeps_files_and_variables() -> None:
    async def use(pool: SessionPool) -> None:
        await run(pool, A, "x = 1\nopen('/mnt/data/kept.txt', 'w').write('kept')")
        assert not (await run(pool, A, "import time\ntime.sleep(60)", timeout=1)).succeeded
        assert (await run(pool, A, "x, open('/mnt/data/kept.txt').read()")).result == [1, "kept"]

    with_pool(use)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos._exit(1)", "Execution aborted"),
        ("import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)", "Request timed out"),
    ],
)
def test_lost_kernel_is_replaced_and_files_are_kept(code: str, said: str) -> None:
    async def use(pool: SessionPool) -> None:
        await run(pool, A, "x = 1\nopen('/mnt/data/kept.txt', 'w').write('kept')")
        lost = await run(pool, A, code, timeout=1)
        assert not lost.succeeded
        assert lost.stderr.startswith(said)
        assert (await run(pool, A, "'x' in globals(), open('/mnt/data/kept.txt').read()")).result == [False, "kept"]
        assert not (await pool.enter(A))[1]

    with_pool(use)


def test_kernel_that_died_between_calls_is_replaced() -> None:
    async def use(pool: SessionPool) -> None:
        pid = (await run(pool, A, "import os, signal, threading\nos.getpid()")).result
        await run(pool, A, "threading.Timer(0.01, os._exit, [1]).start()")
        assert all_gone([pid])
        outcomes = [await run(pool, A, "1"), await run(pool, A, "1")]
        # The first call may be the one that finds it dead.
        assert outcomes[1].result == 1

    with_pool(use)


def test_deleting_a_session_ends_what_it_runs() -> None:
    async def use(pool: SessionPool) -> None:
        pid = (await run(pool, A, "import os, time\nx = 1\nos.getpid()")).result
        session, _ = await pool.enter(A)
        request = ExecutionRequest("open('/mnt/data/running', 'w').close()\ntime.sleep(60)", 60, False, 4096)
        execution = asyncio.create_task(pool.execute(session, request, "long"))
        while not any(info.name == "running" for info in session.files.listing("", False)):
            await asyncio.sleep(0)
        await pool.delete(A)
        outcome = (await execution).outcome
        assert (outcome.succeeded, outcome.stderr) == (False, "Execution aborted")
        assert all_gone([pid])
        assert "NameError" in (await run(pool, A, "x")).stderr

    with_pool(use)


def test_the_data_path_is_the_sessions_own_in_both_directions() -> None:
    async def use(pool: SessionPool) -> None:
        outcome = await run(pool, A, "import os\nprint(os.path.abspath('/mnt/data'))\n['/mnt/data/x']")
        assert (outcome.stdout, outcome.result) == ("/mnt/data\n", ["/mnt/data/x"])
        session, _ = await pool.enter(A)
        await run(pool, A, "open('/mnt/data/out.csv', 'w').write('1,2')")
        assert [info.name for info in session.files.listing("", False)] == ["out.csv"]

    with_pool(use)


def test_records_are_capped() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        request = ExecutionRequest("1", 30, False, 4096)
        for number in range(55):
            await pool.execute(session, request, f"e{number}")
        assert list(session.records) == [f"e{number}" for number in range(5, 55)]

    with_pool(use)


def test_nothing_is_left_after_the_end() -> None:
    pids: list[int] = []
    homes: list[Path] = []

    async def use(pool: SessionPool) -> None:
        code = "import os, subprocess\n[os.getpid(), subprocess.Popen(['sleep', '600']).pid]"
        pids.extend((await run(pool, A, code)).result)
        homes.append(Path((await run(pool, A, "os.environ['HOME']")).result))

    with_pool(use, prewarmed=1)
    assert all_gone(pids)
    assert not homes[0].parents[1].exists()
