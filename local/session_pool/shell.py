"""A shell: each command runs in a bash of its own, and what stays between them are the files.

What a command leaves running ends with it; where there is no /proc (macOS), only what has stayed in its process group.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from local.session_pool.container import Container, Process
from local.session_pool.outcome import ABORTED, Outcome, timeout_text

TIMED_OUT_CODE = -1
# Where there is no /proc, what has left the command's process group may hold its streams open as long as it likes.
STREAM_GRACE_SECONDS = 0.5


class Shell:
    """The shell of one container; `start` makes one."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._process: Process | None = None
        self._stopped = False

    @property
    def alive(self) -> bool:
        """Whether commands can be run."""
        return self._container.alive

    async def execute(self, code: str, *, timeout_seconds: float, stream_length: int, told: bool) -> Outcome:
        """Runs a command; see `Interpreter`."""
        began = time.monotonic()
        with ExitStack() as stack:
            readers, streams = await _streams(stack)
            try:
                process = await self._container.spawn(["/bin/bash", "-c", code], _environment(self._container), streams)
                self._process = process
            finally:
                for stream in streams:
                    os.close(stream)
            kept = bytearray(), bytearray()
            if self._stopped:
                await process.kill()
            reading = [asyncio.create_task(_read(*pair, 4 * stream_length)) for pair in zip(readers, kept, strict=True)]
            try:
                exit_code = _told(await asyncio.wait_for(process.wait(), timeout_seconds))
                timed_out = False
            except asyncio.TimeoutError:
                await process.kill()
                exit_code, timed_out = TIMED_OUT_CODE, True
            await _finished(reading)
        stdout, stderr = (stream.decode("utf-8", "replace")[:stream_length] for stream in kept)
        if timed_out:
            stderr = timeout_text(timeout_seconds, told)
        elif not self.alive:
            stderr = ABORTED
        milliseconds = round((time.monotonic() - began) * 1000)
        return Outcome(
            exit_code == 0, stdout, stderr, "", milliseconds, not self.alive, exit_code=exit_code, timed_out=timed_out
        )

    async def stop(self) -> None:
        """Ends the command that runs or is about to; nothing is left running between commands."""
        self._stopped = True
        if self._process is not None:
            await self._process.kill()


def _told(code: int) -> int:
    # A shell says 128 and the number of the signal that ended a command.
    return code if code >= 0 else 128 - code


async def _streams(stack: ExitStack) -> tuple[list[asyncio.StreamReader], list[int]]:
    """Readers of standard output and error, and the command's three ends."""
    loop = asyncio.get_running_loop()
    readers, ends = [], [os.open(os.devnull, os.O_RDONLY)]
    for _ in range(2):
        own, childs = os.pipe()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_read_pipe(partial(_same, protocol), os.fdopen(own, "rb"))
        stack.callback(transport.close)
        readers.append(reader)
        ends.append(childs)
    return readers, ends


def _same(protocol: asyncio.StreamReaderProtocol) -> asyncio.StreamReaderProtocol:
    return protocol


async def _read(reader: asyncio.StreamReader, kept: bytearray, most: int) -> None:
    """Keeps the first bytes of a stream; the rest is read and dropped, so that the command can go on."""
    while chunk := await reader.read(65536):
        kept += chunk[: max(0, most - len(kept))]


async def _finished(reading: Sequence[asyncio.Task[None]]) -> None:
    _, late = await asyncio.wait(reading, timeout=STREAM_GRACE_SECONDS)
    for task in late:
        task.cancel()


def _environment(container: Container) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": container.home, "LANG": "C.UTF-8"}


async def start(container: Container) -> Shell:
    """A shell for a container, which then runs nothing else.

    Raises:
        ContainerLost: the container has ended.
    """
    await container.tell({"alone": True})
    return Shell(container)
