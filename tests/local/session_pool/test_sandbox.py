"""What somebody who wants to break out would try, in real sandboxed containers."""

from __future__ import annotations

import asyncio
import io
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.part import Part
from local.session_pool import cgroup
from local.session_pool import shell as shells
from local.session_pool.container import Container
from local.session_pool.errors import Refusal
from local.session_pool.execution import ExecutionRequest
from local.session_pool.files import SessionFiles
from local.session_pool.kinds import kind_of
from local.session_pool.outcome import Outcome
from local.session_pool.sandbox import Limits, accounts, arguments, missing
from local.session_pool.sessions import SessionPool
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.needs import give_up
from tests.processes import all_gone, descendants, family

ROOT = Path(__file__).parents[3]
BOUND_SECONDS = 60
MB = 1 << 20
SECRET = "of the host, and nobody else's"
# All that code may write to; each has a limited size.
WRITABLE = {"/mnt/data", "/home/session", "/tmp", "/var/tmp", "/dev/shm", "/run/session"}

Run = Callable[[str], Awaitable[Outcome]]


def with_shell(
    use: Callable[[Run, Container], Awaitable[None]], limits: Limits | None = None, *, network: bool = False
) -> None:
    """Uses a shell in a sandboxed container."""

    async def main(folder: Path) -> None:
        container = await Container.start(folder, isolation(True, limits, network))
        shell = await shells.start(container)

        async def run(command: str, seconds: float = 20) -> Outcome:
            return await shell.execute(command, timeout_seconds=seconds, stream_length=100_000, told=False)

        try:
            await asyncio.wait_for(use(run, container), BOUND_SECONDS)
        finally:
            await container.stop()

    with tempfile.TemporaryDirectory(prefix="s-") as name:
        asyncio.run(main(Path(name)))


def output(*commands: str, network: bool = False, limits: Limits | None = None) -> list[str]:
    """What commands print, to either stream."""
    said: list[str] = []

    async def use(run: Run, container: Container) -> None:
        for command in commands:
            outcome = await run(command)
            said.append(outcome.stdout + outcome.stderr)

    with_shell(use, limits, network=network)
    return said


def python(code: str) -> str:
    """The command that runs Python."""
    return f"{kernel_python()} -I -c {shlex.quote(code)}"


def with_pool(use: Callable[[SessionPool], Awaitable[None]], kind: str, limits: Limits) -> None:
    async def main() -> None:
        async with SessionPool(kind_of(kind, kernel_python()), isolation(True, limits), prewarmed=0) as pool:
            await asyncio.wait_for(use(pool), BOUND_SECONDS)

    asyncio.run(main())


async def execute(pool: SessionPool, identifier: str, code: str, seconds: float = 20) -> Outcome:
    session, _ = await pool.enter(identifier)
    outcome = (await pool.execute(session, ExecutionRequest(code, seconds, False, 4096), "e")).outcome
    assert outcome is not None
    return outcome


def test_files_of_the_host_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, "utf-8")
    home = Path.home()
    paths = [secret, ROOT / "README.md", home / ".ssh", home / ".bashrc", Path("/etc/shadow"), Path("/etc/ssl/private")]
    paths += [Path(name) for name in ("/sys", "/boot", "/srv", "/var/log", "/run/docker.sock", "/etc/hostname")]
    listing = " ".join(shlex.quote(str(path)) for path in paths)
    seen, passwd = output(f"for path in {listing}; do test -e $path && echo $path; done", "cat /etc/passwd /etc/group")
    assert seen == ""
    assert passwd.splitlines() == [text.strip() for _, text in accounts()]
    # Nor by a detour over the first process.
    by_the_way = output(f"cat /proc/1/root{secret} /proc/1/cwd/../..{secret} /proc/*/root{secret}")
    assert SECRET not in by_the_way[0]


def test_root_directory_holds_nothing_else() -> None:
    (listed,) = output("ls /")
    programs = {Path(kernel_python()).parts[1], Path(kernel_python()).resolve().parts[1]}
    system = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "proc", "dev"}
    assert set(listed.split()) <= system | {Path(path).parts[1] for path in WRITABLE} | programs


def test_interpreter_below_a_directory_that_the_sandbox_has_itself() -> None:
    # Such as a virtual environment that a test has made.
    with tempfile.TemporaryDirectory(prefix="s-") as name:
        folder = Path(name)
        subprocess.run([kernel_python(), "-m", "venv", "--without-pip", folder / "venv"], check=True, timeout=60)
        interpreter = str(folder / "venv/bin/python")

        async def start() -> None:
            container = await Container.start(folder, isolation(True, programs=(interpreter,)))
            process = await container.spawn([interpreter, "-c", "open('/tmp/made', 'w').close()"], {})
            assert await process.wait() == 0
            await container.stop()

        asyncio.run(start())
        assert {path.name for path in folder.iterdir()} == {"venv"}


def test_environment_and_processes_of_the_host_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", SECRET)
    here = os.getpid()
    environment, commands, found = output(
        "env; cat /proc/*/environ",
        "cat /proc/*/cmdline | tr '\\0' ' '",
        f"ls -d /proc/[0-9]* | wc -l; kill -0 {here}; cat /proc/{here}/cmdline",
    )
    assert "EXAMPLE_KEY" not in environment
    assert SECRET not in environment
    assert "pytest" not in commands
    assert int(found.splitlines()[0]) < 10
    assert "No such process" in found
    assert "No such file" in found


def test_first_process_tells_no_path_of_the_host() -> None:
    (line,) = output("tr '\\0' '\\n' < /proc/1/cmdline")
    paths = {word for word in line.split() if "/" in word}
    assert paths == {kernel_python(), "/run/container_init.py"}


def test_only_these_directories_can_be_written_to() -> None:
    # The directory of terminals takes no files.
    (found,) = output("find / \\( -path /proc -o -path /dev/pts \\) -prune -o -writable -type d -print 2>/dev/null")
    # Where the project is below /tmp, so is the way to its interpreter.
    ways = {str(path) for path in Path(kernel_python()).parents}
    assert {path for path in found.split() if not path.startswith("/run/session/")} - ways == WRITABLE - ways


def test_files_of_the_system_cannot_be_changed() -> None:
    prefix = str(Path(kernel_python()).parent)
    attempts = [
        f"echo x > {folder}/made" for folder in ("/usr", "/usr/bin", "", "/dev", "/etc", "/run", "/mnt", prefix)
    ]
    attempts += [f"chmod 777 {path}" for path in ("/usr/bin/env", "/etc/passwd", "/", kernel_python())]
    attempts += ["echo x >> /etc/passwd", "rm /usr/bin/env", "rm -r /mnt/data", "mv /mnt/data /mnt/other"]
    said = output(*(f"{{ {attempt}; }} 2>&1 && echo DONE" for attempt in attempts))
    assert [attempt for attempt, text in zip(attempts, said, strict=True) if "DONE" in text or not text] == []


def test_settings_of_the_kernel_cannot_be_changed() -> None:
    # Opened for writing only: where that succeeds, code of root's sandbox could change the host.
    code = (
        "import os\n"
        "for folder, names, files in os.walk('/proc'):\n"
        "    if folder == '/proc': names[:] = [name for name in names if not name.isdigit() and 'self' not in name]\n"
        "    for name in files:\n"
        "        try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NONBLOCK))\n"
        "        except OSError: continue\n"
        "        print(os.path.join(folder, name))\n"
        "print('looked')"
    )
    assert output(python(code)) == ["looked\n"]


def test_no_open_file_leads_to_the_host() -> None:
    code = (
        "import glob, os, stat\n"
        "for path in glob.glob('/proc/[0-9]*/fd/*'):\n"
        "    try: state = os.stat(path)\n"
        "    except OSError: continue\n"
        "    if not (stat.S_ISCHR(state.st_mode) or stat.S_ISFIFO(state.st_mode) or stat.S_ISSOCK(state.st_mode)):\n"
        "        if not os.readlink(path).startswith(('anon_inode:', '/proc/')): print(path, os.readlink(path))\n"
        "print('looked')"
    )
    assert output(python(code)) == ["looked\n"]


def test_rights_are_none_and_none_can_be_got() -> None:
    (status,) = output("cat /proc/self/status")
    rows = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {rows[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert rows["NoNewPrivs"].strip() == "1"
    assert output("id -un; id -u") == ["session\n1000\n"]


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs tmpfs /tmp",
        "mount --bind / /mnt/data",
        "mount -o remount,rw /usr",
        "umount /mnt/data",
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "unshare -Ur mount -t tmpfs tmpfs /tmp",
        "chroot / true",
        "mknod /tmp/disk b 8 0",
        "nsenter -t 1 -m true",
        "hostname other",
        "su -c true",
        "date -s 2000-01-01",
        "sysctl -w kernel.core_pattern=core",
        "nice -n -5 sh -c '[ $(nice) -lt 0 ]'",
        "sh -c 'ulimit -n 1000000'",
    ],
)
def test_what_needs_rights_is_refused(command: str) -> None:
    assert output(f"{command} && echo DONE")[0].endswith("DONE\n") is False


@contextmanager
def listeners(folder: Path) -> Iterator[tuple[int, str, list[str]]]:
    """A TCP listener and an abstract Unix socket of the host; the names of those that were reached."""
    reached: list[str] = []
    abstract = f"test-{os.getpid()}-{folder.name}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{abstract}")
        unix.listen()

        def accept(listener: socket.socket, name: str) -> None:
            try:
                while True:
                    listener.accept()[0].close()
                    reached.append(name)
            except OSError:
                return

        threads = [
            threading.Thread(target=accept, args=(listener, name), daemon=True)
            for listener, name in ((tcp, "tcp"), (unix, "abstract"))
        ]
        for thread in threads:
            thread.start()
        yield tcp.getsockname()[1], abstract, reached
        for listener in (tcp, unix):
            # Closing alone would not wake a thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def connecting(port: int, abstract: str) -> str:
    return python(
        "import socket\n"
        "def reach(name, family, address):\n"
        "    try:\n"
        "        with socket.socket(family) as s:\n"
        "            s.settimeout(5)\n"
        "            s.connect(address)\n"
        "            s.recv(1)\n"
        "        print(name, 'reached')\n"
        "    except OSError as error: print(name, type(error).__name__)\n"
        f"reach('tcp', socket.AF_INET, ('127.0.0.1', {port}))\n"
        f"reach('abstract', socket.AF_UNIX, chr(0) + {abstract!r})\n"
    )


def test_network_is_off(tmp_path: Path) -> None:
    with listeners(tmp_path) as (port, abstract, reached):
        said, devices, name = output(
            connecting(port, abstract),
            "cat /proc/net/dev | tail -n +3 | cut -d: -f1",
            python("import socket; socket.getaddrinfo('example.com', 80)"),
        )
    assert said.splitlines() == ["tcp ConnectionRefusedError", "abstract ConnectionRefusedError"]
    assert reached == []
    assert devices.split() == ["lo"]
    assert "gaierror" in name


def test_network_is_on_where_the_pool_says_so(tmp_path: Path) -> None:
    with listeners(tmp_path) as (port, abstract, reached):
        (said,) = output(connecting(port, abstract), network=True)
    assert said.splitlines()[0] == "tcp reached"
    assert "tcp" in reached


def test_session_has_a_loopback_of_its_own() -> None:
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    client = socket.create_connection(server.getsockname())\n"
        "    server.accept()[0].sendall(b'here')\n"
        "    print(client.recv(9).decode())\n"
    )
    assert output(python(code)) == ["here\n"]


def test_fork_bomb_is_bounded_and_neighbours_go_on() -> None:
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 3"

    async def use(pool: SessionPool) -> None:
        await execute(pool, "neighbour", "true")
        before = descendants(os.getpid())
        bombing = asyncio.create_task(execute(pool, "bomber", bomb, seconds=2))
        served = 0
        most = 0
        while not bombing.done():
            outcome = await execute(pool, "neighbour", "echo here")
            assert outcome.stdout == "here\n"
            served += 1
            most = max(most, len(descendants(os.getpid()) - before))
        await bombing
        assert served > 1
        # A few of them are the emulator's and the neighbour's own.
        assert most <= 64 + 8
        # What has left the process group goes with the session.
        await pool.delete("bomber")
        assert (await execute(pool, "bomber", "echo again")).stdout == "again\n"

    with_pool(use, "Shell", Limits(processes=64))


def test_used_up_memory_ends_its_own_session_only() -> None:
    async def use(pool: SessionPool) -> None:
        for identifier in ("greedy", "neighbour"):
            assert (await execute(pool, identifier, "x = 1")).succeeded
        outcome = await execute(pool, "greedy", f"x = b'x' * {1024 * MB}")
        assert not outcome.succeeded
        assert outcome.stderr == "Execution aborted" or "MemoryError" in outcome.stderr
        assert (await execute(pool, "neighbour", "x")).result == 1
        assert (await execute(pool, "greedy", "6 * 7")).result == 42

    with_pool(use, "PythonLTS", Limits(memory_bytes=400 * MB))


def test_memory_of_many_processes_is_counted_together() -> None:
    isolation(True)
    if not cgroup.available():
        pytest.skip("without a control group the memory of each process is limited, and their number")
    code = (
        "import os, signal\n"
        "own, childs = os.pipe()\n"
        "os.set_blocking(own, False)\n"
        "pids, told, dead = set(), set(), set()\n"
        "while len(pids) < 10:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        x = b'x' * (30 << 20)\n"
        "        os.write(childs, b'%09d' % os.getpid())\n"
        "        signal.pause()\n"
        "    pids.add(pid)\n"
        "while pids - told - dead:\n"
        "    dead |= {pid for pid in pids - dead if os.waitpid(pid, os.WNOHANG)[0]}\n"
        "    try: told.add(int(os.read(own, 9)))\n"
        "    except BlockingIOError: pass\n"
        "print(len(pids - dead))\n"
    )
    (said,) = output(python(code), limits=Limits(memory_bytes=120 * MB))
    assert 0 < int(said) < 10


def test_file_over_the_limit_is_cut() -> None:
    said = output(
        "head -c 3000000 /dev/zero > /mnt/data/large; stat -c %s /mnt/data/large",
        "truncate -s 3000000 /mnt/data/sparse; stat -c %s /mnt/data/sparse",
        limits=Limits(file_bytes=MB),
    )
    sizes = [int(text.splitlines()[0]) for text in said]
    assert sizes[0] == MB
    assert sizes[1] <= MB


def test_directories_fill_up_to_their_limits() -> None:
    disk = 8 * MB
    code = (
        "import os, sys\n"
        "block, total, number = bytes(65536), 0, 0\n"
        "try:\n"
        "    while total < 64 << 20:\n"
        "        with open(f'{sys.argv[1]}/fill{number}', 'wb', 0) as file:\n"
        "            for _ in range(16): total += file.write(block)\n"
        "        number += 1\n"
        "except OSError as error: print(error.errno, end=' ')\n"
        "print(total)\n"
    )
    folders = sorted(WRITABLE)
    said = output(*(f"{python(code)} {folder}" for folder in folders), limits=Limits(disk_bytes=disk))
    written = {}
    for folder, text in zip(folders, said, strict=True):
        errno, total = text.split()
        assert int(errno) == 28, folder
        written[folder] = int(total)
    data = written.pop("/mnt/data")
    assert disk // 2 <= data <= disk
    assert sum(written.values()) <= disk + MB


def test_full_directory_refuses_an_upload() -> None:
    async def use(run: Run, container: Container) -> None:
        stored = SessionFiles(container.open_data)
        with pytest.raises(Refusal) as refusal:
            stored.write("", "large.bin", io.BytesIO(bytes(3 * MB)))
        assert refusal.value.status in (413, 507)
        assert stored.listing("", False) == []
        assert stored.write("", "small.bin", io.BytesIO(b"x")).size_bytes == 1

    with_shell(use, Limits(disk_bytes=2 * MB))


def test_links_do_not_lead_the_files_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, "utf-8")
    links = {"file": secret, "folder": tmp_path, "root": Path("/"), "passwd": Path("/etc/passwd"), "up": Path("../..")}
    commands = [f"ln -s {target} /mnt/data/{name}" for name, target in links.items()]
    commands += ["ln /etc/passwd /mnt/data/hard", "mkfifo /mnt/data/pipe", "mkdir /mnt/data/real"]
    commands += ["ln -s /proc/1/root /mnt/data/real/proc", "ln -s . /mnt/data/real/round"]

    async def use(run: Run, container: Container) -> None:
        await run("; ".join(commands))
        stored = SessionFiles(container.open_data)
        assert [info.name for info in stored.listing("", True)] == ["real"]
        for directory, name in (
            *(("", name) for name in (*links, "hard", "pipe")),
            *(("folder", "secret.txt"), ("root", "passwd"), ("root/etc", "passwd"), ("up", "passwd")),
            *(("real/proc", "passwd"), ("real/round", "proc"), ("real/proc/etc", "passwd")),
        ):
            for use_of_it in (stored.open, stored.info):
                with pytest.raises(Refusal):
                    use_of_it(directory, name)
        for directory in ("folder", "root", "up", "real/proc", "real/round"):
            with pytest.raises(Refusal):
                stored.write(directory, "made.txt", io.BytesIO(b"x"))
        # A link is replaced or deleted itself.
        stored.write("", "file", io.BytesIO(b"mine"))
        stored.delete("", "folder")
        assert secret.read_text("utf-8") == SECRET
        assert list(tmp_path.iterdir()) == [secret]

    with_shell(use)


def test_sessions_do_not_see_each_other() -> None:
    async def use(pool: SessionPool) -> None:
        for place in sorted(WRITABLE):
            assert (await execute(pool, "session-a", f"touch {place}/mine")).succeeded
        before = descendants(os.getpid())
        running = asyncio.create_task(execute(pool, "session-a", "sleep 600 & setsid -f sleep 600; sleep 600"))
        while len(descendants(os.getpid()) - before) < 3:
            await asyncio.sleep(0)
        places = " ".join(sorted(WRITABLE))
        seen = await execute(pool, "session-b", f"find {places} -name 'm?ne'; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert not running.done()
        assert "mine" not in seen.stdout
        assert "600" not in seen.stdout
        await pool.delete("session-a")
        assert not (await running).succeeded

    with_pool(use, "Shell", Limits())


def test_code_that_kills_everything_ends_its_own_session_only() -> None:
    async def use(pool: SessionPool) -> None:
        session, _ = await pool.enter("session-a")
        guid = session.guid
        await execute(pool, "session-b", "touch /mnt/data/kept")
        lost = await execute(pool, "session-a", "touch /mnt/data/lost; kill -KILL -1; kill -KILL 1")
        assert not lost.succeeded
        assert (await execute(pool, "session-a", "ls /mnt/data")).stdout == ""
        assert session.guid != guid
        assert (await execute(pool, "session-b", "ls /mnt/data")).stdout == "kept\n"

    with_pool(use, "Shell", Limits())


def groups(pid: int) -> list[Path]:
    """The control groups of an emulator's containers."""
    found = (path for path in Path("/sys/fs/cgroup").rglob(f"session-pool-{pid}-*") if path.is_dir())
    return list(found)


def started(folder: Path, *options: str) -> Part:
    command = [
        sys.executable,
        "-m",
        "local.session_pool",
        "--with-parent",
        "--kernel-python",
        kernel_python(),
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Part("pool", command, environment=environment, folder=folder, keep_log=True)


def test_killed_emulator_leaves_no_process_and_no_control_group(tmp_path: Path) -> None:
    isolation(True)
    part = started(tmp_path, "--kind", "Shell", "--prewarmed", "2")
    try:
        part.wait_ready(30)
        deadline = time.monotonic() + BOUND_SECONDS
        # The emulator, and of each container bubblewrap twice and the first process.
        while len(processes := family([part.pid])) < 7 and time.monotonic() < deadline:
            pass
        assert len(processes) == 7
        os.kill(part.pid, signal.SIGKILL)
        assert all_gone(processes)
    finally:
        part.kill()
    another = started(tmp_path, "--kind", "Shell", "--prewarmed", "0")
    try:
        another.wait_ready(30)
        assert groups(part.pid) == []
    finally:
        another.stop(30)


def reason(environment: dict[str, str], *before: str) -> str:
    """What a process of its own says about the sandbox."""
    code = "from local.session_pool import sandbox; print(sandbox.missing())"
    ran = subprocess.run(
        [*before, sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.strip()


def test_missing_sandbox_is_explained(tmp_path: Path) -> None:
    isolation(True)
    assert missing() == ""
    assert "apt install bubblewrap" in reason({"PATH": str(tmp_path)})


def test_limits_of_a_process_depend_on_the_control_group() -> None:
    limits = Limits(memory_bytes=5, processes=6, file_bytes=7, open_files=8)
    assert limits.of_a_process(grouped=True) == {"FSIZE": 7, "NOFILE": 8, "CORE": 0}
    assert limits.of_a_process(grouped=False) == {"FSIZE": 7, "NOFILE": 8, "CORE": 0, "AS": 5, "NPROC": 6}


@pytest.mark.parametrize(("version", "enough"), [("0.4.1", False), ("0.6.1", False), ("0.8.0", True), ("0.11.0", True)])
def test_old_bubblewrap_is_named(tmp_path: Path, version: str, enough: bool) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho bubblewrap {version}\n", "utf-8")
    program.chmod(0o755)
    told = reason({"PATH": str(tmp_path)})
    assert (f"bubblewrap is {version}, and version 0.8 or later is needed" in told) is not enough


def link_in_home(monkeypatch: pytest.MonkeyPatch, home: Path, target: str) -> str:
    """A link in the `bin` of a home directory that holds a secret."""
    (home / "bin").mkdir(parents=True)
    (home / "secret.txt").write_text(SECRET, "utf-8")
    (home / "bin" / "secret.txt").write_text(SECRET, "utf-8")
    monkeypatch.setenv("HOME", str(home))
    link = home / "bin" / Path(target).name
    link.symlink_to(target)
    return str(link)


async def seen_by(folder: Path, programs: tuple[str, ...], command: str, secret: Path) -> Outcome:
    container = await Container.start(folder, isolation(True, programs=programs))
    try:
        shell = await shells.start(container)
        found = await shell.execute(
            f"find / -name {secret.name} 2>/dev/null; cat {secret}; ls -A {secret.parent}",
            timeout_seconds=20,
            stream_length=4096,
            told=False,
        )
        assert SECRET not in found.stdout
        assert secret.name not in found.stdout
        return await shell.execute(command, timeout_seconds=20, stream_length=4096, told=False)
    finally:
        await container.stop()


@pytest.mark.parametrize("name", ["node", "python"])
def test_link_in_a_home_directory_shows_nothing_beside_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    target = str(Path(kernel_python()).resolve()) if name == "python" else shutil.which("node")
    if target is None:
        give_up("node is not installed")
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        link = link_in_home(monkeypatch, Path(folder, "home"), target)
        programs = (link,) if name == "python" else (kernel_python(), link)
        code = f"{link} -c 'import json; print(6 * 7)'" if name == "python" else f"{link} -p '6 * 7'"
        secret = Path(folder, "home", "secret.txt")
        outcome = asyncio.run(seen_by(Path(folder), programs, code, secret))
        assert (outcome.stdout, outcome.stderr) == ("42\n", "")


def test_virtual_environment_made_from_a_link_in_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        link = link_in_home(monkeypatch, Path(folder, "home"), str(Path(kernel_python()).resolve()))
        environment = Path(folder, "home", "project", ".venv")
        (environment / "bin").mkdir(parents=True)
        (environment / "pyvenv.cfg").write_text(f"home = {Path(link).resolve().parent}\n", "utf-8")
        python_of_it = environment / "bin" / "python"
        python_of_it.symlink_to(link)
        code = f"{python_of_it} -c 'import json, sys; print(sys.prefix)'"
        secret = Path(folder, "home", "secret.txt")
        outcome = asyncio.run(seen_by(Path(folder), (str(python_of_it),), code, secret))
        assert (outcome.stdout, outcome.stderr) == (f"{environment}\n", "")


@pytest.mark.parametrize("place", ["home/bin", "home/.local/bin", "bin"])
def test_interpreter_itself_in_a_home_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    program = tmp_path / place / "node"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    with pytest.raises(ValueError, match="would be visible"):
        isolation(True, programs=(kernel_python(), str(program)))
    # So is a link to it, and a virtual environment made in the home directory itself.
    link = tmp_path / "elsewhere" / "bin" / "node"
    link.parent.mkdir(parents=True)
    link.symlink_to(program)
    with pytest.raises(ValueError, match="would be visible"):
        isolation(True, programs=(kernel_python(), str(link)))
    # Without a sandbox everything is visible anyway.
    assert not isolation(False, programs=(str(program),)).sandboxed


def test_virtual_environment_that_is_the_home_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = link_in_home(monkeypatch, tmp_path / "home", str(Path(kernel_python()).resolve()))
    (tmp_path / "home" / "pyvenv.cfg").write_text("", "utf-8")
    with pytest.raises(ValueError, match="would be visible"):
        isolation(True, programs=(link,))


def test_directory_that_only_begins_like_one_of_the_systems_is_made_visible() -> None:
    # Such as /usrlocal: compared as text it would pass for /usr.
    if not os.access("/", os.W_OK):
        pytest.skip("only root can make a directory beside /usr")
    with tempfile.TemporaryDirectory(prefix="libexample-", dir="/") as folder:
        program = Path(folder) / "bin" / "tool"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n", "utf-8")
        program.chmod(0o755)
        assert arguments([str(program)], Limits(), False).count(folder) == 2
