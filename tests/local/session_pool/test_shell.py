"""Commands in the shell of a container, with and without a sandbox."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from local.session_pool import shell as shells
from local.session_pool.container import Container, ContainerLost
from local.session_pool.launch import Isolation
from local.session_pool.outcome import Outcome
from local.session_pool.shell import Shell
from tests.local.session_pool.kernels import isolation
from tests.processes import all_gone, descendants

BOUND_SECONDS = 30


@pytest.fixture(params=[False, True], ids=["plain", "sandboxed"])
def how(request: pytest.FixtureRequest) -> Isolation:
    return isolation(bool(request.param))


@asynccontextmanager
async def shell_in(how: Isolation) -> AsyncIterator[tuple[Shell, Container]]:
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        container = await Container.start(Path(name), how)
        try:
            yield await shells.start(container), container
        finally:
            await container.stop()


async def execute(shell: Shell, command: str, seconds: float = 20, limit: int = 4096, told: bool = False) -> Outcome:
    return await shell.execute(command, timeout_seconds=seconds, stream_length=limit, told=told)


def run(how: Isolation, *commands: str, seconds: float = 20, limit: int = 4096, told: bool = False) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with shell_in(how) as (shell, _):
            return [await execute(shell, command, seconds, limit, told) for command in commands]

    return asyncio.run(asyncio.wait_for(main(), BOUND_SECONDS))


def with_shell(how: Isolation, use: Callable[[Shell, Container], Awaitable[None]]) -> None:
    async def main() -> None:
        async with shell_in(how) as (shell, container):
            await use(shell, container)

    asyncio.run(asyncio.wait_for(main(), BOUND_SECONDS))


async def begun(container: Container) -> None:
    """Waits until a command has made a file."""
    handle = container.open_data()
    while "begun" not in os.listdir(handle):
        await asyncio.sleep(0)
    os.close(handle)


def test_streams_and_exit_codes(how: Isolation) -> None:
    good, bad, unknown = run(how, "echo out; echo err >&2", "exit 7", "no-such-command")
    assert (good.stdout, good.stderr, good.result) == ("out\n", "err\n", "")
    assert (good.succeeded, good.exit_code, good.kernel_lost) == (True, 0, False)
    assert (bad.succeeded, bad.exit_code) == (False, 7)
    assert unknown.exit_code == 127
    assert "no-such-command" in unknown.stderr


@pytest.mark.parametrize(
    ("command", "code"), [("kill -TERM $$", 143), ("kill -KILL $$", 137), ("sh -c 'kill $$'", 143)]
)
def test_signal_is_told_as_a_shell_tells_it(how: Isolation, command: str, code: int) -> None:
    (outcome,) = run(how, command)
    assert (outcome.succeeded, outcome.exit_code, outcome.kernel_lost) == (False, code, False)


def test_files_stay_and_variables_do_not(how: Isolation) -> None:
    kept, lost, where = run(how, "X=1; echo kept > file; cd /", "cat file; echo [$X]", "pwd; echo $HOME")[:3]
    assert kept.succeeded
    assert lost.stdout == "kept\n[]\n"
    first, second = where.stdout.splitlines()
    assert first == second


def test_environment_is_small(how: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "example-value")
    (outcome,) = run(how, "env")
    names = {line.partition("=")[0] for line in outcome.stdout.splitlines()}
    # The last three are bash's own.
    assert names <= {"PATH", "HOME", "LANG", "JPY_PARENT_PID", "PWD", "SHLVL", "_"}


def test_bash_and_not_another_shell_without_input(how: Isolation) -> None:
    array, nothing = run(how, "x=(a b); [[ ${x[1]} == b ]] && echo bash", "cat; read line; echo [$line]")
    assert array.stdout == "bash\n"
    assert nothing.stdout == "[]\n"


def test_bytes_that_are_no_text(how: Isolation) -> None:
    nul, invalid = run(how, r"printf 'a\0b'", r"printf 'a\xff'")
    assert nul.stdout == "a\0b"
    assert invalid.stdout == "a\ufffd"


def test_streams_are_cut_in_characters(how: Isolation) -> None:
    many = "for n in {1..200}; do printf '\\u00e4'; printf 'x' >&2; done"
    (outcome,) = run(how, many, limit=50)
    assert (outcome.stdout, outcome.stderr) == ("ä" * 50, "x" * 50)


def test_output_over_the_limit_is_read_on(how: Isolation) -> None:
    (outcome,) = run(how, "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2", limit=10)
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("x" * 10, "end\n", 0)


@pytest.mark.parametrize(("told", "end"), [(True, " after 1 seconds"), (False, "")])
def test_timeout_ends_the_command(how: Isolation, told: bool, end: str) -> None:
    slow, after = run(
        how, "echo begun; echo err >&2; trap '' TERM; sleep 600 & wait", "echo here", seconds=1, told=told
    )
    assert (slow.succeeded, slow.timed_out, slow.exit_code, slow.kernel_lost) == (False, True, -1, False)
    assert slow.stdout == "begun\n"
    assert slow.stderr == "Request timed out waiting for code execution to complete" + end
    assert 1000 <= slow.milliseconds < 20_000
    assert after.stdout == "here\n"


LEFT_RUNNING = [
    "echo out; sleep 600 &",
    "echo out; setsid sleep 600 &",
    "setsid -f sleep 600; echo out",
    "setsid -f sh -c 'echo > left; exec sleep 600'; until [ -e left ]; do :; done; echo out",
    "setsid -f sh -c 'setsid -f sleep 600; setsid sleep 600 & echo > left; sleep 600'; until [ -e left ]; do :; done; "
    "echo out",
]


@pytest.mark.parametrize("command", LEFT_RUNNING)
def test_what_is_left_running_does_not_hold_the_reply(how: Isolation, command: str) -> None:
    (outcome,) = run(how, command)
    assert (outcome.stdout, outcome.exit_code) == ("out\n", 0)


@pytest.mark.parametrize("command", [*LEFT_RUNNING, "setsid -f sleep 600; kill -KILL $$"])
def test_what_is_left_running_has_ended_when_the_reply_comes(how: Isolation, command: str) -> None:
    async def use(shell: Shell, container: Container) -> None:
        await execute(shell, "true")
        before = descendants(os.getpid())
        await execute(shell, f"exec > /dev/null 2>&1; {command}")
        assert descendants(os.getpid()) - before == set()
        # The shell itself goes on.
        assert (await execute(shell, "echo here")).stdout == "here\n"

    with_shell(how, use)


def test_timeout_ends_what_has_left_the_process_group(how: Isolation) -> None:
    async def use(shell: Shell, container: Container) -> None:
        before = descendants(os.getpid())
        outcome = await execute(shell, "setsid -f sleep 600; setsid sleep 600 & wait", seconds=1)
        assert outcome.timed_out
        assert descendants(os.getpid()) - before == set()

    with_shell(how, use)


def test_what_holds_the_streams_does_not_outlast_the_timeout(how: Isolation) -> None:
    (outcome,) = run(how, "setsid sleep 600 & echo out; wait", seconds=1)
    assert (outcome.timed_out, outcome.stdout) == (True, "out\n")


def test_stopping_ends_the_command_that_runs(how: Isolation) -> None:
    async def use(shell: Shell, container: Container) -> None:
        before = descendants(os.getpid())
        running = asyncio.create_task(execute(shell, f"echo > {container.data}/begun; sleep 600", 60))
        await begun(container)
        pids = descendants(os.getpid()) - before
        assert pids
        await shell.stop()
        outcome = await running
        assert (outcome.succeeded, outcome.exit_code) == (False, 137)
        assert all_gone(pids)
        await shell.stop()

    with_shell(how, use)


def test_stopping_ends_a_command_that_is_about_to_run(how: Isolation) -> None:
    async def use(shell: Shell, container: Container) -> None:
        running = asyncio.create_task(execute(shell, "sleep 600", 60))
        await asyncio.sleep(0)
        await shell.stop()
        assert (await running).exit_code == 137

    with_shell(how, use)


def test_lost_container_aborts_the_command(how: Isolation) -> None:
    async def use(shell: Shell, container: Container) -> None:
        running = asyncio.create_task(execute(shell, f"echo > {container.data}/begun; sleep 600", 60))
        await begun(container)
        await container.stop()
        outcome = await running
        assert (outcome.succeeded, outcome.stderr, outcome.kernel_lost) == (False, "Execution aborted", True)
        assert not shell.alive
        with pytest.raises(ContainerLost):
            await execute(shell, "true")
        with pytest.raises(ContainerLost):
            await shells.start(container)

    with_shell(how, use)


def test_many_commands_leave_no_descriptor(how: Isolation) -> None:
    async def use(shell: Shell, container: Container) -> None:
        await execute(shell, "true")
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await execute(shell, "setsid true & echo")
        # A transport closes its end in the loop's next turn.
        await asyncio.sleep(0)
        assert set(os.listdir("/proc/self/fd")) == before

    with_shell(how, use)
