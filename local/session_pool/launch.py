"""Starts the first process of a container, as a plain process or in the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.session_pool import cgroup, sandbox
from local.session_pool.sandbox import Limits

INIT = Path(__file__).with_name("container_init.py")
_INIT_INSIDE = "/run/container_init.py"
_ERROR_BYTES_READ = 65536
_ERROR_BYTES_TOLD = 600


@dataclass(frozen=True)
class Isolation:
    """How containers are made.

    Attributes:
        programs: interpreters that containers run, the Python of the container's first process first.
        sandboxed: in bubblewrap; otherwise plain processes of this user.
        network: the host's network is reachable from the sandbox.
        limits: of each container; they hold in the sandbox only.

    Raises:
        ValueError: one of the programs is installed where the sandbox may not look.
    """

    programs: tuple[str, ...]
    sandboxed: bool = True
    network: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        # Told when the pool starts, not when its first session does.
        if self.sandboxed:
            sandbox.installed(self.programs)


@dataclass
class Launched:
    """A first process that was started.

    Attributes:
        process: it, or the bubblewrap that it lives in.
        errors: the end of its standard error that this process reads.
        pid: the process whose root directory is the container's; 0 without a sandbox.
        group: its control group, where there is one.
    """

    process: asyncio.subprocess.Process
    errors: int
    pid: int = 0
    group: cgroup.ControlGroup | None = None

    async def end(self) -> None:
        """Ends it, and in the sandbox everything with it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
        if self.group is not None:
            await asyncio.to_thread(self.group.remove)
        if self.errors >= 0:
            os.close(self.errors)
            self.errors = -1

    def complaint(self) -> str:
        """The last of what it said on standard error."""
        try:
            said = os.read(self.errors, _ERROR_BYTES_READ)
        except BlockingIOError:
            return ""
        return said[-_ERROR_BYTES_TOLD:].decode("utf-8", "replace").strip()


async def plain(isolation: Isolation, control: socket.socket) -> Launched:
    """Starts it as a process of this user.

    Args:
        isolation: how containers are made.
        control: the socket that it serves.
    """
    return await _started(_command(isolation, str(INIT), control), [control.fileno()])


async def sandboxed(isolation: Isolation, control: socket.socket, name: str) -> Launched:
    """Starts it in the sandbox, under its limits from the first instruction on.

    Args:
        isolation: how containers are made.
        control: the socket that it serves.
        name: of its control group, unique in this process.

    Raises:
        OSError: no control group could be made.
        RuntimeError: bubblewrap did not start.
    """
    limits = isolation.limits
    options = sandbox.arguments(isolation.programs, limits, isolation.network)
    with _Descriptors() as descriptors:
        options += ["--ro-bind-data", str(descriptors.holding(INIT.read_bytes())), _INIT_INSIDE]
        for path, text in sandbox.accounts():
            options += ["--ro-bind-data", str(descriptors.holding(text.encode())), path]
        info, told = descriptors.from_child()
        release, held = descriptors.to_child()
        options += ["--remount-ro", "/", "--info-fd", str(told), "--block-fd", str(held)]
        # As arguments they could be read inside, in /proc/1/cmdline.
        listed = descriptors.holding("\0".join(options).encode())
        command = ["bwrap", "--args", str(listed), "--", *_command(isolation, _INIT_INSIDE, control)]
        launched = await _started(command, [control.fileno(), *descriptors.inherited])
        descriptors.close_inherited()
        try:
            launched.pid = await asyncio.to_thread(_child_pid, info)
            if cgroup.available():
                launched.group = cgroup.ControlGroup(name, memory_bytes=limits.memory_bytes, processes=limits.processes)
                launched.group.take(launched.pid)
            os.write(release, b"1")
        except BaseException:
            await launched.end()
            raise
    return launched


def _command(isolation: Isolation, script: str, control: socket.socket) -> list[str]:
    # Isolated and without site: it starts in 20 ms and takes nothing from the code's directories.
    return [isolation.programs[0], "-I", "-S", script, str(control.fileno())]


async def _started(command: Sequence[str], inherited: Sequence[int]) -> Launched:
    # Not a file: code in the container finds the descriptor in /proc, and could fill the host's disk.
    own, childs = os.pipe()
    os.set_blocking(own, False)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=inherited,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=childs,
            start_new_session=True,
        )
    except BaseException:
        os.close(own)
        raise
    finally:
        os.close(childs)
    return Launched(process, own)


def _child_pid(info: int) -> int:
    text = b""
    while b"}" not in text:
        chunk = os.read(info, 4096)
        if not chunk:
            raise RuntimeError("bubblewrap did not start")
        text += chunk
    return int(json.loads(text)["child-pid"])


class _Descriptors:
    """Descriptors for bubblewrap, closed at the end on this side."""

    def __init__(self) -> None:
        self.inherited: list[int] = []
        self._own: list[int] = []

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_inherited()
        for descriptor in self._own:
            os.close(descriptor)

    def holding(self, data: bytes) -> int:
        """One that the child reads `data` from."""
        descriptor = os.memfd_create("session")
        self.inherited.append(descriptor)
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def from_child(self) -> tuple[int, int]:
        """The end that this process reads, and the one that the child writes."""
        own, childs = os.pipe()
        self._keep(own, childs)
        return own, childs

    def to_child(self) -> tuple[int, int]:
        """The end that this process writes, and the one that the child reads."""
        childs, own = os.pipe()
        self._keep(own, childs)
        return own, childs

    def close_inherited(self) -> None:
        """Closes the child's ends here, so that its end can be noticed."""
        while self.inherited:
            os.close(self.inherited.pop())

    def _keep(self, own: int, childs: int) -> None:
        self._own.append(own)
        self.inherited.append(childs)
