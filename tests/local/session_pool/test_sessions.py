"""A pool's sessions with real kernels: allocation, cooldown, lost kernels, the end."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Awaitable, Callable

import pytest

from local.session_pool import sessions, shell
from local.session_pool.container import Container
from local.session_pool.errors import Refusal
from local.session_pool.execution import ExecutionRequest
from local.session_pool.kinds import Kind, kind_of
from local.session_pool.launch import Isolation
from local.session_pool.outcome import Interpreter, Outcome
from local.session_pool.sessions import RECORDS_KEPT, RUNNING_MAX, SessionPool
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.processes import all_gone, descendants

# What holds with and without a sandbox is tested in both ways.
pytestmark = pytest.mark.usefixtures("sandboxed")
A, B = "session-a", "session-b"
BOUND_SECONDS = 90


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


_isolation: list[Isolation] = []


@pytest.fixture(params=[False, True], ids=["plain", "sandboxed"])
def sandboxed(request: pytest.FixtureRequest) -> bool:
    _isolation[:] = [isolation(request.param)]
    return bool(request.param)


def with_pool(
    use: Callable[[SessionPool], Awaitable[None]], *, most: int = 100, prewarmed: int = 0, clock: Clock | None = None
) -> None:
    async def main() -> None:
        pool = SessionPool(
            kind_of("PythonLTS", kernel_python()),
            _isolation[0],
            max_sessions=most,
            cooldown_seconds=300,
            prewarmed=prewarmed,
            clock=clock or Clock(),
        )
        async with pool:
            await asyncio.wait_for(use(pool), BOUND_SECONDS)

    asyncio.run(main())


async def run(pool: SessionPool, identifier: str, code: str, timeout: float = 30) -> Outcome:
    session, _ = await pool.enter(identifier)
    request = ExecutionRequest(code, timeout, False, 4096)
    outcome = (await pool.execute(session, request, f"e{len(session.records)}")).outcome
    assert outcome is not None
    return outcome


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
        await run(pool, A, "x = 1")
        clock.now += 299
        pool.find(A)
        clock.now += 299
        assert (await run(pool, A, "x")).result == 1
        clock.now += 300
        with pytest.raises(Refusal) as refusal:
            pool.find(A)
        assert refusal.value.status == 404
        assert pool.listing() == []
        assert (await pool.enter(A))[1]
        assert "NameError" in (await run(pool, A, "x")).stderr

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


# Ends the kernel once it is told to, so never in the middle of the call that brings it.
DIES_LATER = """
import os, threading, time
def die():
    while not os.path.exists('/mnt/data/die'):
        time.sleep(0.01)
    os.remove('/mnt/data/die')
    os._exit(1)
open('/mnt/data/kept.txt', 'w').close()
threading.Thread(target=die).start()
"""


def test_kernel_that_died_between_calls_is_replaced() -> None:
    async def use(pool: SessionPool) -> None:
        assert (await run(pool, A, DIES_LATER)).succeeded
        session, _ = await pool.enter(A)
        session.files.write("", "die", io.BytesIO())
        while session.place is not None and session.place.interpreter.alive:
            await asyncio.sleep(0)
        assert (await run(pool, A, "'os' in globals(), __import__('os').listdir('/mnt/data')")).result == [
            False,
            ["kept.txt"],
        ]

    with_pool(use)


def test_deleting_a_session_ends_what_it_runs() -> None:
    async def use(pool: SessionPool) -> None:
        before = descendants(os.getpid())
        await run(pool, A, "import time\nx = 1")
        pids = descendants(os.getpid()) - before
        assert pids
        session, _ = await pool.enter(A)
        request = ExecutionRequest("open('/mnt/data/running', 'w').close()\ntime.sleep(60)", 60, False, 4096)
        execution = asyncio.create_task(pool.execute(session, request, "long"))
        while not any(info.name == "running" for info in session.files.listing("", False)):
            await asyncio.sleep(0)
        await pool.delete(A)
        outcome = (await execution).outcome
        assert outcome is not None
        assert (outcome.succeeded, outcome.stderr) == (False, "Execution aborted")
        assert all_gone(pids)
        assert "NameError" in (await run(pool, A, "x")).stderr

    with_pool(use)


def test_deleting_a_session_ends_an_execution_in_an_empty_kernel() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        code = "open('/mnt/data/running', 'w').close()\nimport time\ntime.sleep(60)"
        request = ExecutionRequest(code, 60, False, 4096, empty_kernel=True)
        execution = asyncio.create_task(pool.execute(session, request, "long"))
        while not any(info.name == "running" for info in session.files.listing("", False)):
            await asyncio.sleep(0)
        await asyncio.wait_for(pool.delete(A), 20)
        outcome = (await execution).outcome
        assert outcome is not None
        assert (outcome.succeeded, outcome.stderr) == (False, "Execution aborted")

    with_pool(use)


def test_deleting_a_session_ends_an_empty_kernel_that_is_starting() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        request = ExecutionRequest("1", 60, False, 4096, empty_kernel=True)
        execution = asyncio.create_task(pool.execute(session, request, "long"))
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.delete(A), 20)
        outcome = (await execution).outcome
        assert outcome is not None
        assert (outcome.succeeded, outcome.stderr) == (False, "Execution aborted")

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
        for number in range(RECORDS_KEPT + 5):
            await pool.execute(session, request, f"e{number}")
        assert list(session.records) == [f"e{number}" for number in range(5, RECORDS_KEPT + 5)]

    with_pool(use)


def test_records_are_capped_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RECORDS_BYTES_MAX", 3_000_000)

    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        # Ten times as large in memory as its JSON.
        request = ExecutionRequest("[[]] * 20_000", 30, False, 4096)
        for number in range(5):
            await pool.execute(session, request, f"e{number}")
        assert list(session.records) == ["e3", "e4"]
        monkeypatch.setattr(sessions, "RECORDS_BYTES_MAX", 1)
        await pool.execute(session, request, "last")
        assert list(session.records) == ["last"]

    with_pool(use)


def test_warming_goes_on_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WARMING_PAUSE_SECONDS", 0)
    started: asyncio.Queue[None] = asyncio.Queue()

    async def start(container: Container) -> Interpreter:
        started.put_nowait(None)
        if started.qsize() == 1:
            raise LookupError("unforeseen")
        return await shell.start(container)

    async def main() -> None:
        kind = Kind("Shell", start, (kernel_python(),), takes_commands=True)
        async with SessionPool(kind, _isolation[0], prewarmed=1):
            while started.qsize() < 2:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), BOUND_SECONDS))
    assert started.qsize() == 2


def test_nothing_is_left_after_the_end() -> None:
    before = descendants(os.getpid())
    pids: set[int] = set()
    folders: list[str] = []

    async def use(pool: SessionPool) -> None:
        code = (
            "import subprocess\nfor apart in (False, True): subprocess.Popen(['sleep', '600'], start_new_session=apart)"
        )
        assert (await run(pool, A, code)).succeeded
        pids.update(descendants(os.getpid()) - before)
        folders.extend(name for name in os.listdir(tempfile.gettempdir()) if name.startswith("sp-"))

    with_pool(use, prewarmed=1)
    assert len(pids) >= 4
    assert all_gone(pids)
    assert folders
    assert set(folders) - set(os.listdir(tempfile.gettempdir()))


def test_lost_container_is_told_by_a_new_allocation() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        guid = session.guid
        assert session.place is not None
        await session.place.container.stop()
        assert (await run(pool, A, "1")).result == 1
        assert session.guid not in ("", guid)

    with_pool(use)


def test_background_execution_has_its_outcome_later() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        record = await pool.begin(session, ExecutionRequest("6 * 7", 30, False, 4096, asynchronous=True), "first")
        before = record.outcome
        # The next one waits for it.
        assert (await run(pool, A, "1")).result == 1
        assert before is None
        assert record.outcome is not None
        assert record.outcome.result == 42
        assert session.records["first"] is record

    with_pool(use)


def test_empty_kernel_neither_sees_nor_changes_variables() -> None:
    async def use(pool: SessionPool) -> None:
        await run(pool, A, "x = 1")
        session, _ = await pool.enter(A)
        request = ExecutionRequest("'x' in globals()\nx = 2\nx", 30, False, 4096, empty_kernel=True)
        record = await pool.execute(session, request, "empty")
        assert record.outcome is not None
        assert record.outcome.result == 2
        assert (await run(pool, A, "x")).result == 1

    with_pool(use)


def test_too_many_waiting_executions_are_refused() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter(A)
        request = ExecutionRequest("1", 30, False, 4096, asynchronous=True)
        session.running = RUNNING_MAX
        with pytest.raises(Refusal) as refusal:
            await pool.begin(session, request, "e1")
        assert refusal.value.status == 429
        session.running = 0

    with_pool(use)
