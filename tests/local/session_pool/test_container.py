"""Containers with and without a sandbox: their processes, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from local.session_pool import container as containers
from local.session_pool.container import Container, ContainerLost, Process
from local.session_pool.launch import Isolation
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.processes import all_gone, descendants

BOUND_SECONDS = 30
# More than `select` takes.
MANY_FILES = 1100
# Reaches for the first process's socket, by which it reports to the emulator, and writes to it.
FORGERY = """
import ctypes, os, sys
parent, libc = os.getppid(), ctypes.CDLL(None)
pidfd = libc.syscall(434, parent, 0)
for name in os.listdir(f"/proc/{parent}/fd"):
    if os.readlink(f"/proc/{parent}/fd/{name}").startswith("socket:"):
        own = libc.syscall(438, pidfd, int(name), 0)
        if own >= 0:
            os.write(own, sys.argv[1].encode())
"""
WHEN_TOLD = "until [ -e $DATA/go ]; do :; done; "

# Waits until the other process has left the group.
LEAVE_GROUP = "setsid -f sh -c 'echo > left; exec sleep 600 > /dev/null 2>&1'; until [ -e left ]; do :; done; "

Use = Callable[[Container], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["plain", "sandboxed"])
def how(request: pytest.FixtureRequest) -> Isolation:
    return isolation(bool(request.param))


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own directories are too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="c-") as name:
        yield Path(name)


def with_container(how: Isolation, folder: Path, use: Use) -> None:
    async def main() -> None:
        container = await Container.start(folder, how)
        try:
            await asyncio.wait_for(use(container), BOUND_SECONDS)
        finally:
            await container.stop()

    before = descendants(os.getpid())
    asyncio.run(main())
    assert all_gone(descendants(os.getpid()) - before)
    assert list(folder.iterdir()) == []


class Started:
    """A process whose output can be read."""

    def __init__(self, process: Process, output: int) -> None:
        self.process = process
        self._output = output

    async def line(self) -> str:
        """What it has written, once there is something."""
        return (await asyncio.to_thread(os.read, self._output, 65536)).decode()

    async def end(self) -> tuple[int, str]:
        """Its exit code, and what it has written to the end."""
        code = await self.process.wait()
        text = b""
        while chunk := await asyncio.to_thread(os.read, self._output, 65536):
            text += chunk
        self.close()
        return code, text.decode()

    def close(self) -> None:
        """Reads no more."""
        os.close(self._output)


async def spawn(
    container: Container, *command: str, given: bytes = b"", environment: Mapping[str, str] | None = None
) -> Started:
    own, childs = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, childs)
        stdin = stack.enter_context(tempfile.TemporaryFile())
        stdin.write(given)
        stdin.seek(0)
        try:
            return Started(await container.spawn(command, environment or {}, [stdin.fileno(), childs, childs]), own)
        except BaseException:
            os.close(own)
            raise


def tell(container: Container) -> None:
    """Lets a process go on that waits with `WHEN_TOLD`."""
    handle = container.open_data()
    os.close(os.open("go", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)


async def run(container: Container, *command: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    return await (await spawn(container, *command, environment=environment)).end()


def test_streams_and_exit_codes(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        assert await (await spawn(container, "/bin/cat", given=b"given")).end() == (0, "given")
        assert await run(container, "/bin/sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")
        assert await run(container, "/bin/sh", "-c", "kill -TERM $$") == (-signal.SIGTERM, "")
        # Without streams there is nothing to read, and what is written goes nowhere.
        process = await container.spawn(["/bin/sh", "-c", "cat; echo lost"], {})
        assert (await process.wait(), process.alive) == (0, False)

    with_container(how, folder, use)


def test_environment_is_what_was_given(how: Isolation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "example-value")

    async def use(container: Container) -> None:
        code, text = await run(container, "/usr/bin/env", environment={"GIVEN": "1"})
        assert code == 0
        assert {line.partition("=")[0] for line in text.splitlines()} == {"GIVEN", "JPY_PARENT_PID"}
        # Nor is it to be found in its first process.
        code, text = await run(container, "/bin/sh", "-c", "cat /proc/$PPID/environ")
        assert "example-value" not in text

    with_container(how, folder, use)


def test_working_directory_and_files_are_the_containers(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        assert await run(container, "/bin/pwd") == (0, container.home + "\n")
        await run(container, "/bin/sh", "-c", f"echo made > {container.data}/made.txt")
        handle = container.open_data()
        try:
            assert os.listdir(handle) == ["made.txt"]
        finally:
            os.close(handle)

    with_container(how, folder, use)


def test_many_at_once(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        ended = await asyncio.gather(*(run(container, "/bin/sh", "-c", f"exit {number}") for number in range(20)))
        assert [code for code, _ in ended] == list(range(20))

    with_container(how, folder, use)


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", "/etc", "", "/bin/sh\0"])
def test_program_that_cannot_be_started(how: Isolation, folder: Path, program: str) -> None:
    async def use(container: Container) -> None:
        with pytest.raises(RuntimeError, match="Error"):
            await run(container, program)
        assert (await run(container, "/bin/true"))[0] == 0

    with_container(how, folder, use)


def test_killed_process_takes_its_group_along(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        before = descendants(os.getpid())
        started = await spawn(container, "/bin/sh", "-c", "sleep 600 & echo $$; wait")
        assert int(await started.line()) > 0
        pids = descendants(os.getpid()) - before
        assert len(pids) == 2
        await started.process.kill()
        assert await started.end() == (-signal.SIGKILL, "")
        assert all_gone(pids)
        # A second time there is nothing to do.
        await started.process.kill()

    with_container(how, folder, use)


def test_what_a_process_leaves_in_its_group_ends_with_it(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        before = descendants(os.getpid())
        assert (await run(container, "/bin/sh", "-c", "sleep 600 & exit 3"))[0] == 3
        assert all_gone(descendants(os.getpid()) - before)

    with_container(how, folder, use)


def test_what_has_left_its_group_ends_with_the_container(how: Isolation, folder: Path) -> None:
    pids: set[int] = set()

    async def use(container: Container) -> None:
        before = descendants(os.getpid())
        started = await spawn(container, "/bin/sh", "-c", "setsid sleep 600 & setsid -f sleep 600; echo; sleep 600")
        await started.line()
        pids.update(descendants(os.getpid()) - before)
        assert len(pids) >= 3

    with_container(how, folder, use)
    assert all_gone(pids)


def test_process_alone_takes_along_what_has_left_its_group_and_spares_its_neighbour(
    how: Isolation, folder: Path
) -> None:
    async def use(container: Container) -> None:
        await container.tell({"alone": True})
        neighbour = await spawn(container, "/bin/sh", "-c", "sleep 600 & echo; wait")
        await neighbour.line()
        before = descendants(os.getpid())
        assert (await run(container, "/bin/sh", "-c", LEAVE_GROUP + "exit 3"))[0] == 3
        assert descendants(os.getpid()) == before
        assert neighbour.process.alive
        neighbour.close()

    with_container(how, folder, use)


def test_what_has_left_its_group_goes_on_while_nobody_asked_for_its_end(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        before = descendants(os.getpid())
        await run(container, "/bin/sh", "-c", LEAVE_GROUP)
        assert len(descendants(os.getpid()) - before) == 1

    with_container(how, folder, use)


def test_stopped_container_takes_nothing_more(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        started = await spawn(container, "/bin/sh", "-c", "echo; sleep 600")
        await started.line()
        await container.stop()
        assert not container.alive
        assert await started.end() == (-signal.SIGKILL, "")
        with pytest.raises(ContainerLost):
            await container.spawn(["/bin/true"], {})
        await container.stop()

    with_container(how, folder, use)


# Without a sandbox what outlives the first process is nobody's child any more: the code is trusted there.
def test_container_that_code_has_ended(folder: Path) -> None:
    async def use(container: Container) -> None:
        command = WHEN_TOLD + "kill -KILL $PPID; sleep 600"
        started = await spawn(container, "/bin/sh", "-c", command, environment={"DATA": container.data})
        tell(container)
        assert (await started.process.wait()) == -signal.SIGKILL
        started.close()
        with pytest.raises(ContainerLost):
            await container.spawn(["/bin/true"], {})

    with_container(isolation(True), folder, use)


def test_container_whose_first_process_code_has_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(container: Container) -> None:
        command = WHEN_TOLD + "kill -STOP $PPID; echo; exec sleep 600"
        started = await spawn(container, "/bin/sh", "-c", command, environment={"DATA": container.data})
        tell(container)
        await started.line()
        # Not before: a busy machine needs longer to start the container.
        monkeypatch.setattr(containers, "STOP_SECONDS", 0.2)
        monkeypatch.setattr(containers, "START_SECONDS", 0.2)
        with pytest.raises(ContainerLost, match="does not answer"):
            await container.spawn(["/bin/true"], {})
        # It cannot pass on the order to end one process; all then end with it.
        await started.process.kill()
        assert not container.alive
        assert not started.process.alive
        started.close()

    with_container(isolation(True), folder, use)


@pytest.mark.parametrize(
    "line",
    [
        *("junk\n", "5\n", "[]\n", "null\n", "{}\n", "[" * 9999 + "\n", "x" * 99_999 + "\n"),
        *('{"started": "x"}\n', '{"started": null}\n', '{"started": 5}\n', '{"failed": {}}\n'),
        *('{"started": Infinity}\n', '{"started": 1e999}\n', '{"ended": 5, "code": NaN}\n'),
        *('{"ended": 1}\n', '{"ended": 1, "code": 0}\n', '{"ended": [], "code": 0}\n', '{"ended": 5, "code": "x"}\n'),
    ],
    ids=lambda line: line.strip()[:24],
)
def test_container_whose_reports_code_has_forged(how: Isolation, folder: Path, line: str) -> None:
    async def use(container: Container) -> None:
        process = await container.spawn([kernel_python(), "-I", "-c", FORGERY, line], {})
        # Whatever has become of the container, whoever waits is told.
        await process.wait()
        try:
            other = await container.spawn(["/bin/sleep", "600"], {})
            await other.kill()
        except (ContainerLost, RuntimeError):
            return
        assert not other.alive

    with_container(how, folder, use)


def test_files_are_the_containers_own_or_none_while_it_ends(folder: Path) -> None:
    async def use(container: Container) -> None:
        own = os.stat(container.data if container.data != "/mnt/data" else f"/proc/self/fd/{container.open_data()}")

        def look() -> int:
            seen = 0
            while True:
                try:
                    handle = container.open_data()
                except OSError:
                    return seen
                assert os.path.samestat(os.fstat(handle), own)
                os.close(handle)
                seen += 1

        looking = asyncio.gather(*(asyncio.to_thread(look) for _ in range(3)))
        await container.stop()
        assert all(seen >= 0 for seen in await looking)

    with_container(isolation(True), folder, use)


def test_container_that_cannot_be_started(folder: Path) -> None:
    missing = str(folder / "no-python")

    async def start(how: Isolation) -> None:
        with pytest.raises((OSError, ContainerLost, RuntimeError)) as error:
            await Container.start(folder, how)
        assert "no-python" in str(error.value) or "no-python" not in how.programs[0] or how.sandboxed

    before = set(os.listdir("/proc/self/fd"))
    for sandboxed in (False, True):
        how = isolation(sandboxed)
        asyncio.run(start(Isolation((missing,), sandboxed=how.sandboxed)))
        asyncio.run(start(Isolation(("/bin/false",), sandboxed=how.sandboxed)))
    assert set(os.listdir("/proc/self/fd")) == before
    assert list(folder.iterdir()) == []


def test_containers_leave_no_descriptor_and_no_control_group(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        container.socket_folder().close()
        assert (await run(container, "/bin/true"))[0] == 0

    with_container(how, folder, use)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with_container(how, folder, use)
    assert set(os.listdir("/proc/self/fd")) == before
    assert list(Path("/sys/fs/cgroup").rglob(f"session-pool-{os.getpid()}-*")) == []


def test_link_in_place_of_a_socket_folder_is_not_followed(
    how: Isolation, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def overtaken(name: str, mode: int = 0o777, *, dir_fd: int) -> None:
        # Code in the container has been quicker than the emulator's next step.
        mkdir(name, mode, dir_fd=dir_fd)
        os.rename(name, name + ".old", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.symlink(tmp_path, name, dir_fd=dir_fd)

    async def use(container: Container) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", overtaken)
            with pytest.raises(OSError, match="Not a directory"):
                container.socket_folder()
        assert list(tmp_path.iterdir()) == []

    with_container(how, folder, use)


def test_file_in_a_socket_folder_is_new(how: Isolation, folder: Path, tmp_path: Path) -> None:
    async def use(container: Container) -> None:
        sockets = container.socket_folder()
        (sockets.path / "link").symlink_to(tmp_path / "made")
        sockets.write("kernel.json", "{}")
        for name in ("link", "kernel.json"):
            with pytest.raises(FileExistsError):
                sockets.write(name, "{}")
        assert await run(container, "/bin/cat", f"{sockets.inside}/kernel.json") == (0, "{}")
        sockets.close()
        assert list(tmp_path.iterdir()) == []
        # They would fill the container's small directory one by one.
        for _ in range(600):
            sockets = container.socket_folder()
            sockets.write("kernel.json", "{}")
            sockets.close()
        sockets.close()

    with_container(how, folder, use)


def test_paths_in_code_and_results(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        inward = container.inward("open('/mnt/data/x')")
        assert inward == f"open('{container.data}/x')"
        assert container.outward([f"{container.data}/x", {"a": 1}]) == ["/mnt/data/x", {"a": 1}]
        assert (container.data == "/mnt/data") is how.sandboxed

    with_container(how, folder, use)


def test_link_in_place_of_the_files_is_refused_without_a_sandbox(folder: Path, tmp_path: Path) -> None:
    async def use(container: Container) -> None:
        os.rmdir(container.data)
        os.symlink(tmp_path, container.data)
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            container.open_data()

    with_container(isolation(False), folder, use)


def test_container_starts_where_the_emulator_has_many_open_files(how: Isolation, folder: Path) -> None:
    async def use(container: Container) -> None:
        process = await container.spawn(["/bin/sh", "-c", "exit 7"], {})
        assert await process.wait() == 7

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY_FILES + 200), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(MANY_FILES):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with_container(how, folder, use)
