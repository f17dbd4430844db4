"""JavaScript in a container, with and without a sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from local.session_pool.container import Container
from local.session_pool.execution import ExecutionRequest
from local.session_pool.kinds import kind_of
from local.session_pool.launch import Isolation
from local.session_pool.node import NodeContext
from local.session_pool.outcome import Outcome
from local.session_pool.sessions import SessionPool
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.needs import give_up

BOUND_SECONDS = 30
# Writes to the socket that only the context's own script should use.
FORGE = "process._getActiveHandles().forEach(h => h.write && h.write({line} + '\\n'))"


def node() -> str:
    return shutil.which("node") or give_up("node is not installed")


@pytest.fixture(params=[False, True], ids=["plain", "sandboxed"])
def how(request: pytest.FixtureRequest) -> Isolation:
    return isolation(bool(request.param), programs=(kernel_python(), node()))


@asynccontextmanager
async def context_in(how: Isolation) -> AsyncIterator[NodeContext]:
    with tempfile.TemporaryDirectory(prefix="n-") as name:
        container = await Container.start(Path(name), how)
        try:
            context = await NodeContext.start(container, node())
            try:
                yield context
            finally:
                await context.stop()
        finally:
            await container.stop()


def run(how: Isolation, *codes: str, seconds: float = 20, limit: int = 4096, told: bool = False) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with context_in(how) as context:
            return [
                await context.execute(code, timeout_seconds=seconds, stream_length=limit, told=told) for code in codes
            ]

    return asyncio.run(asyncio.wait_for(main(), BOUND_SECONDS))


def with_pool(how: Isolation, use: Callable[[Callable[..., Awaitable[Outcome]]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with SessionPool(kind_of("NodeLTS", kernel_python()), how, prewarmed=0) as pool:

            async def run(code: str, seconds: float = 20, empty: bool = False) -> Outcome:
                session, _ = await pool.enter("session-a")
                request = ExecutionRequest(code, seconds, False, 4096, empty_kernel=empty)
                outcome = (await pool.execute(session, request, "e")).outcome
                assert outcome is not None
                return outcome

            await asyncio.wait_for(use(run), BOUND_SECONDS)

    asyncio.run(main())


def test_results_by_type(how: Isolation) -> None:
    expected: dict[str, Any] = {
        "6 * 7": 42,
        "'text'": "text",
        "''": "",
        "true": True,
        "0.5": 0.5,
        "null": None,
        "undefined": "",
        "var y = 1": "",
        "NaN": "nan",
        "1 / 0": "infinity",
        "[1, {a: null}]": [1, {"a": None}],
        "new Map([[1, 2]])": {},
        "(() => 1)": "[Function (anonymous)]",
        "10n": "10n",
        "Promise.resolve(7)": 7,
        "'\\ud800'": "\ud800",
        "var loop = {}; loop.loop = loop": "<ref *1> { loop: [Circular *1] }",
        "var deep = []; for (let i = 0; i < 500; i++) deep = [deep]; deep": "[ [ [ [Array] ] ] ]",
    }
    outcomes = run(how, *expected)
    assert {code: outcome.result for code, outcome in zip(expected, outcomes, strict=True)} == expected
    assert all(outcome.succeeded and outcome.stderr == "" for outcome in outcomes)


def test_variables_stay_and_streams_are_apart(how: Isolation) -> None:
    code = "const y = 2; let z = 3; console.log('out'); console.error('err'); x + y + z"
    first, second, third = run(how, "var x = 1", code, "x + y + z")
    assert first.stdout == ""
    assert (second.stdout, second.stderr, second.result) == ("out\n", "err\n", 6)
    assert (third.stdout, third.result) == ("", 6)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("console.log('before'); missing", "ReferenceError: missing is not defined"),
        ("const (", "SyntaxError"),
        ("throw new Error('mine')", "Error: mine"),
        ("throw 5", "5"),
        ("throw null", "null"),
        ("Promise.reject(new Error('mine'))", "Error: mine"),
        ("import('fs')", "Error"),
    ],
)
def test_code_that_fails(how: Isolation, code: str, said: str) -> None:
    failed, after = run(how, code, "'here'")
    assert (failed.succeeded, failed.result, failed.kernel_lost) == (False, "", False)
    assert said in failed.stderr
    assert failed.stdout == ("before\n" if "before" in code else "")
    assert after.result == "here"


def test_modules_and_files(how: Isolation) -> None:
    code = "require('fs').writeFileSync('made.txt', 'made'); require('fs').readFileSync('made.txt', 'utf8')"
    (outcome,) = run(how, code)
    assert outcome.result == "made"


def test_environment_is_small(how: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "example-value")
    (outcome,) = run(how, "Object.keys(process.env).sort()")
    assert set(outcome.result) == {"HOME", "JPY_PARENT_PID", "LANG", "PATH"}


def test_streams_are_cut_and_what_comes_late_is_dropped(how: Isolation) -> None:
    many, late, after = run(
        how,
        "for (let i = 0; i < 100; i++) { console.log('x'.repeat(99)); console.error('ä'.repeat(99)) }",
        "setTimeout(() => console.log('late'), 1); 1",
        "new Promise(done => setTimeout(() => { console.log('own'); done(2) }, 50))",
        limit=50,
    )
    assert (len(many.stdout), many.stderr) == (50, "ä" * 50)
    assert late.result == 1
    # What comes while nothing runs belongs to nobody; while something runs it cannot be told apart.
    assert after.stdout in ("own\n", "late\nown\n")


@pytest.mark.parametrize(("told", "end"), [(True, " after 1 seconds"), (False, "")])
def test_endless_loop_is_interrupted_and_variables_stay(how: Isolation, told: bool, end: str) -> None:
    _, slow, after = run(how, "var x = 5", "console.log('go'); while (true);", "x", seconds=1, told=told)
    assert (slow.succeeded, slow.timed_out, slow.kernel_lost, slow.stdout) == (False, True, False, "go\n")
    assert slow.stderr == "Request timed out waiting for code execution to complete" + end
    assert 1000 <= slow.milliseconds < 20_000
    assert after.result == 5


def test_what_waits_for_ever_is_ended_and_replaced(how: Isolation) -> None:
    async def use(run: Callable[..., Awaitable[Outcome]]) -> None:
        await run("var x = 5; require('fs').writeFileSync('/mnt/data/kept.txt', 'kept')")
        slow = await run("new Promise(() => {})", 1)
        assert (slow.succeeded, slow.timed_out, slow.kernel_lost) == (False, True, True)
        assert (await run("[typeof x, require('fs').readFileSync('/mnt/data/kept.txt', 'utf8')]")).result == [
            "undefined",
            "kept",
        ]

    with_pool(how, use)


@pytest.mark.parametrize("code", ["process.exit(0)", "process.abort()", "process.kill(process.pid, 'SIGKILL')"])
def test_context_that_ends_is_replaced(how: Isolation, code: str) -> None:
    async def use(run: Callable[..., Awaitable[Outcome]]) -> None:
        lost = await run(code)
        assert (lost.succeeded, lost.stderr, lost.kernel_lost) == (False, "Execution aborted", True)
        assert (await run("6 * 7")).result == 42

    with_pool(how, use)


def test_errors_outside_an_execution_end_nothing(how: Isolation) -> None:
    code = "setTimeout(() => { throw new Error('late') }, 1); new Promise(done => setTimeout(() => done('here'), 50))"
    late, rejected, after = run(how, code, "void Promise.reject(new Error('unheard')); 1", "2")
    assert late.result == "here"
    assert "late" in late.stderr
    assert (rejected.result, after.result) == (1, 2)


@pytest.mark.parametrize(
    "line",
    ["junk", "5", "null", "[]", "{}", '{"ok": true, "text": 5}', '{"ok": false, "error": []}', "[" * 3000, '{"ok"'],
    ids=lambda line: line[:20],
)
def test_forged_reply_ends_its_context_only(how: Isolation, line: str) -> None:
    async def use(run: Callable[..., Awaitable[Outcome]]) -> None:
        lost = await run(FORGE.format(line=json.dumps(line)))
        assert (lost.succeeded, lost.stderr, lost.kernel_lost) == (False, "Execution aborted", True)
        assert (await run("6 * 7")).result == 42

    with_pool(how, use)


def test_empty_context_neither_sees_nor_changes_variables(how: Isolation) -> None:
    async def use(run: Callable[..., Awaitable[Outcome]]) -> None:
        await run("var x = 1")
        assert (await run("var before = typeof x; x = 2; [before, x]", empty=True)).result == ["undefined", 2]
        assert (await run("x")).result == 1

    with_pool(how, use)


def test_contexts_leave_no_descriptor(how: Isolation) -> None:
    run(how, "1")
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(how, "1", "console.log(2)")
    assert set(os.listdir("/proc/self/fd")) == before


def test_large_results_are_cut_or_told(how: Isolation) -> None:
    text, larger, failed, after = run(
        how, "'x'.repeat(2e6)", "'x'.repeat(2e7)", "throw new Error('x'.repeat(2e7))", "6 * 7"
    )
    assert text.result == "x" * 1_000_000
    assert (larger.succeeded, larger.result) == (True, "The result is too large.")
    assert (failed.succeeded, failed.stderr) == (False, "The result is too large.")
    assert after.result == 42
