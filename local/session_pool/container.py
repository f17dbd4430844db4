"""A container: the processes and directories of one session, started and ended as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from local.session_pool import launch
from local.session_pool.launch import Isolation, Launched
from local.session_pool.outcome import FORGED
from local.session_pool.sandbox import DATA, HOME, SOCKETS

START_SECONDS = 30.0
STOP_SECONDS = 5.0
SOCKETS_MAX = 16
_T = TypeVar("_T")


class ContainerLost(Exception):
    """The container did not start, or has ended with all that was in it."""


class Process:
    """A process in a container."""

    def __init__(self, container: Container, pid: int, ended: asyncio.Future[int]) -> None:
        self._container = container
        self._pid = pid
        self._ended = ended

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative for a signal."""
        return await asyncio.shield(self._ended)

    async def kill(self) -> None:
        """Ends it and its process group, and waits until it is gone."""
        if self.alive:
            with contextlib.suppress(ContainerLost):
                await self._container.tell({"kill": self._pid})
            try:
                await asyncio.wait_for(self.wait(), STOP_SECONDS)
            except asyncio.TimeoutError:
                # Code in the container can stop its first process.
                await self._container.stop()


class SocketFolder:
    """A directory for the sockets of one interpreter, which this process and those in the container share.

    Code in a container can put a link in its place. It is therefore held by a descriptor, and what is written there
    is new.

    Attributes:
        path: as this process sees it, until `close`.
        inside: as the container's processes do.
    """

    def __init__(self, parent: int, inside: str) -> None:
        # A Unix socket's path may have 108 bytes.
        self._name = uuid.uuid4().hex[:6]
        self._parent = parent
        os.mkdir(self._name, dir_fd=parent)
        self._handle = os.open(self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        self.inside = f"{inside}/{self._name}"
        held = Path(f"/proc/self/fd/{self._handle}")
        self.path = held if held.exists() else Path(self.inside)

    def write(self, name: str, text: str) -> None:
        """Makes a file that only the user of the container can read."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(name, flags, 0o600, dir_fd=self._handle), "w", encoding="utf-8") as file:
            file.write(text)

    def close(self) -> None:
        """Removes it, unless its container is gone already."""
        if self._handle < 0:
            return
        with contextlib.suppress(OSError), os.scandir(self._handle) as entries:
            # Code in the container may have put any number of files there; they then stay as long as it does.
            for entry in itertools.islice(entries, SOCKETS_MAX):
                os.unlink(entry.name, dir_fd=self._handle)
            os.rmdir(self._name, dir_fd=self._parent)
        os.close(self._handle)
        self._handle = -1


class Container:
    """What a session lives in; `start` makes one.

    Attributes:
        guid: names it in replies.
        data: where its files are, as its processes see them.
        home: its processes' own directory, as they see it.
    """

    def __init__(self, root: Path, sandboxed: bool) -> None:
        self.guid = str(uuid.uuid4())
        self.data = DATA if sandboxed else str(root / "data")
        self.home = HOME if sandboxed else str(root / "home")
        self._root = root
        self._sandboxed = sandboxed
        self._launched: Launched | None = None
        self._control: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._start_reply: asyncio.Future[Process] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._running: dict[int, asyncio.Future[int]] = {}
        self._data_handle = self._sockets_handle = -1
        # A descriptor's number may name another session's directory as soon as it is closed.
        self._closing = threading.Lock()

    @classmethod
    async def start(cls, folder: Path, isolation: Isolation) -> Container:
        """Starts a container and waits until it takes requests.

        Args:
            folder: a directory of its own is made below this one; keep the path short, as it holds sockets.
            isolation: how it is made.

        Raises:
            ContainerLost: it did not start; the text says what bubblewrap or its first process said.
            OSError: a resource of this machine is used up.
        """
        container = cls(Path(tempfile.mkdtemp(prefix="", dir=folder)), isolation.sandboxed)
        try:
            await container._start(isolation)
        except BaseException:
            await container.stop()
            raise
        return container

    @property
    def alive(self) -> bool:
        """Whether it still takes requests."""
        return self._listening is not None and not self._listening.done()

    def open_data(self) -> int:
        """A descriptor of its directory of files; the caller closes it. Any thread may ask.

        Raises:
            OSError: the container has ended, or code in it has put something else in the directory's place.
        """
        if self._sandboxed:
            with self._closing:
                return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._data_handle)
        # In the service it is a mount, which code cannot remove.
        Path(self.data).mkdir(exist_ok=True)
        return os.open(self.data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def inward(self, code: str) -> str:
        """Code as it has to be run: without a sandbox there is no /mnt/data, and the text of the path is replaced."""
        return code if self._sandboxed else code.replace(DATA, self.data)

    def outward(self, value: Any) -> Any:
        """JSON that the code gave, with the path of the files as the caller knows it."""
        if self._sandboxed:
            return value
        text = json.dumps(value)
        return json.loads(text.replace(self.data, DATA)) if self.data in text else value

    def socket_folder(self) -> SocketFolder:
        """A new directory for sockets; the caller closes it.

        Raises:
            OSError: the container has no room for it, or code in it has put something else in its place.
        """
        return SocketFolder(self._sockets_handle, SOCKETS if self._sandboxed else str(self._root / "s"))

    async def spawn(
        self, command: Sequence[str], environment: Mapping[str, str], streams: Sequence[int] = ()
    ) -> Process:
        """Starts a process in the container.

        Args:
            command: program and arguments.
            environment: all of its environment; nothing of this process's own gets there.
            streams: descriptors of standard input, output and error, which the caller closes; none for /dev/null.

        Raises:
            ContainerLost: the container has ended.
            RuntimeError: the program could not be started.
        """
        async with self._one_at_a_time:
            self._start_reply = asyncio.get_running_loop().create_future()
            with open(os.devnull, "r+b") as null:
                request = {"start": list(command), "cwd": self.home, "env": dict(environment)}
                await self.tell(request, streams or [null.fileno()] * 3)
                return await _answered(self._start_reply)

    async def tell(self, request: Mapping[str, Any], streams: Sequence[int] = ()) -> None:
        """Sends a request to the container's first process.

        Raises:
            ContainerLost: the container has ended.
        """
        if self._control is None or not self.alive:
            raise ContainerLost("the container has ended")
        line = json.dumps(request).encode() + b"\n"
        try:
            sent = socket.send_fds(self._control, [line], list(streams))
            await asyncio.get_running_loop().sock_sendall(self._control, line[sent:])
        except OSError:
            raise ContainerLost("the container has ended") from None

    async def stop(self) -> None:
        """Ends everything in it and removes its directories."""
        if self._control is not None:
            # Its first process then ends the others; the sandbox's end does so in any case.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_WR)
        if not self._sandboxed:
            await self._listened()
        if self._launched is not None:
            await self._launched.end()
        await self._listened()
        if self._writer is not None:
            self._writer.close()
        if self._control is not None:
            self._control.close()
        with self._closing:
            for handle in {self._data_handle, self._sockets_handle} - {-1}:
                os.close(handle)
            self._data_handle = self._sockets_handle = -1
        await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)

    async def _start(self, isolation: Isolation) -> None:
        self._control, there = socket.socketpair()
        self._control.setblocking(False)
        with there:
            if isolation.sandboxed:
                self._launched = await launch.sandboxed(isolation, there, self._root.name)
            else:
                for name in ("s", "home", "data"):
                    (self._root / name).mkdir()
                self._launched = await launch.plain(isolation, there)
        reports, self._writer = await asyncio.open_connection(sock=self._control.dup())
        ready = await _answered(reports.readline())
        if not ready:
            raise ContainerLost(f"the container did not start: {self._launched.complaint()}")
        self._listening = asyncio.create_task(self._listen(reports))
        if isolation.sandboxed:
            limits = isolation.limits.of_a_process(grouped=self._launched.group is not None)
            await self.tell({"limits": limits})
            self._data_handle = os.open(f"/proc/{self._launched.pid}/root{DATA}", os.O_RDONLY | os.O_DIRECTORY)
            self._sockets_handle = os.open(f"/proc/{self._launched.pid}/root{SOCKETS}", os.O_RDONLY | os.O_DIRECTORY)
        else:
            self._sockets_handle = os.open(self._root / "s", os.O_RDONLY | os.O_DIRECTORY)

    async def _listened(self) -> None:
        if self._listening is not None:
            await asyncio.wait([self._listening], timeout=STOP_SECONDS)

    async def _listen(self, reports: asyncio.StreamReader) -> None:
        try:
            while line := await reports.readline():
                self._hear(json.loads(line))
        except (ConnectionError, *FORGED):
            # Code in the container may have got hold of the socket.
            pass
        finally:
            for ended in self._running.values():
                ended.set_result(-signal.SIGKILL)
            self._running.clear()
            self._reply_to_start(ContainerLost("the container has ended"))

    def _hear(self, report: Mapping[str, Any]) -> None:
        if "started" in report:
            pid = int(report["started"])
            ended = self._running.setdefault(pid, asyncio.get_running_loop().create_future())
            self._reply_to_start(Process(self, pid, ended))
        elif "ended" in report:
            code = int(report["code"])
            self._running.pop(report["ended"]).set_result(code)
        else:
            self._reply_to_start(RuntimeError(report["failed"]))

    def _reply_to_start(self, reply: Process | Exception) -> None:
        if self._start_reply is None or self._start_reply.done():
            return
        if isinstance(reply, Process):
            self._start_reply.set_result(reply)
        else:
            self._start_reply.set_exception(reply)


async def _answered(answer: Awaitable[_T]) -> _T:
    try:
        return await asyncio.wait_for(answer, START_SECONDS)
    except asyncio.TimeoutError:
        raise ContainerLost("its first process does not answer") from None
