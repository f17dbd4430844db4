"""A Node.js context in a container: JavaScript whose top-level variables stay between executions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from local.session_pool.container import Container, Process, SocketFolder
from local.session_pool.outcome import ABORTED, RESULT_LENGTH_MAX, TOO_LARGE, Outcome, result_of, timeout_text, value_of

READY_SECONDS = 30.0
# What waits for a timer or the network cannot be interrupted from inside, so the process is ended.
GRACE_SECONDS = 0.5
LINE_BYTES_MAX = 8 << 20
_CHUNK_BYTES = 1 << 16
_SCRIPT = Path(__file__).with_name("node_context.js")


class NodeContext:
    """A running context; `start` makes one."""

    def __init__(self, process: Process, streams: list[_Stream]) -> None:
        self._process = process
        self._streams = streams
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def start(cls, container: Container, node: str) -> NodeContext:
        """Starts a context and waits until it takes code.

        Args:
            container: where it lives.
            node: the interpreter's path.

        Raises:
            ContainerLost: the container has ended.
            RuntimeError: it did not become ready.
        """
        folder = container.socket_folder()
        try:
            folder.write("context.js", _SCRIPT.read_text("utf-8"))
            return await cls._connected(container, node, folder)
        finally:
            folder.close()

    @classmethod
    async def _connected(cls, container: Container, node: str, folder: SocketFolder) -> NodeContext:
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.get_running_loop().create_future()
        )

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Any process of the container can connect, and more than once.
            if connected.done():
                writer.close()
            else:
                connected.set_result((reader, writer))

        server = await asyncio.start_unix_server(accept, str(folder.path / "n"))
        try:
            context = await cls._spawned(container, [node, f"{folder.inside}/context.js", f"{folder.inside}/n"])
            try:
                context._reader, context._writer = await asyncio.wait_for(connected, READY_SECONDS)
            except asyncio.TimeoutError:
                await context.stop()
                raise RuntimeError("node did not become ready") from None
            except BaseException:
                await context.stop()
                raise
        finally:
            # Not `async with`: from Python 3.12 on that waits until the connection ends, too.
            server.close()
        return context

    @classmethod
    async def _spawned(cls, container: Container, command: list[str]) -> NodeContext:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": container.home, "LANG": "C.UTF-8"}
        pipes = [os.pipe(), os.pipe()]
        streams = [_Stream(own) for own, _ in pipes]
        try:
            with open(os.devnull, "rb") as null:
                ends = [null.fileno(), *(childs for _, childs in pipes)]
                return cls(await container.spawn(command, environment, ends), streams)
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        finally:
            for _, childs in pipes:
                os.close(childs)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive

    async def execute(self, code: str, *, timeout_seconds: float, stream_length: int, told: bool) -> Outcome:
        """Runs JavaScript; see `Interpreter`."""
        began = time.monotonic()
        for stream in self._streams:
            stream.begin(stream_length)
        reply = await self._evaluate(code, timeout_seconds)
        stdout, stderr = (stream.taken() for stream in self._streams)
        if reply.get("timedOut"):
            stderr = timeout_text(timeout_seconds, told)
        elif "ok" not in reply:
            stderr = ABORTED
        elif "error" in reply:
            stderr = (stderr + reply["error"])[:stream_length]
        milliseconds = round((time.monotonic() - began) * 1000)
        succeeded = reply.get("ok") is True
        text = reply.get("text", "")[:RESULT_LENGTH_MAX] if succeeded else ""
        value = result_of(reply.get("json", ""), text) if succeeded else ""
        timed_out = bool(reply.get("timedOut"))
        return Outcome(succeeded, stdout, stderr, value, milliseconds, not self.alive, text=text, timed_out=timed_out)

    async def stop(self) -> None:
        """Kills the process and what it has started."""
        await self._process.kill()
        if self._writer is not None:
            self._writer.close()
        for stream in self._streams:
            stream.close()

    async def _evaluate(self, code: str, timeout_seconds: float) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            return {}
        request = {"code": code, "milliseconds": round(timeout_seconds * 1000)}
        with contextlib.suppress(ConnectionError):
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        try:
            line = await asyncio.wait_for(_line(self._reader), timeout_seconds + GRACE_SECONDS)
        except asyncio.TimeoutError:
            await self._process.kill()
            return {"ok": False, "timedOut": True}
        except ConnectionError:
            line = b""
        reply = _read_reply(line)
        if not reply:
            await self._process.kill()
        return reply


async def _line(reader: asyncio.StreamReader) -> bytes:
    """A line, read to its end and kept up to a byte over the limit."""
    kept = bytearray()
    while chunk := await reader.read(_CHUNK_BYTES):
        kept += chunk[: LINE_BYTES_MAX + 1 - len(kept)]
        if b"\n" in chunk:
            break
    return bytes(kept)


def _read_reply(line: bytes) -> dict[str, Any]:
    """A reply; empty if it is none, as code in the context can write what it likes."""
    if len(line) > LINE_BYTES_MAX:
        too_large = {"json": json.dumps(TOO_LARGE), "text": TOO_LARGE}
        return {"ok": True, **too_large} if line.startswith(b'{"ok":true') else {"ok": False, "error": TOO_LARGE}
    try:
        reply = value_of(line.decode("utf-8"))
    except ValueError:
        return {}
    texts = ("json", "text", "error")
    is_reply = isinstance(reply, dict) and all(isinstance(reply.get(name, ""), str) for name in texts)
    return reply if is_reply else {}


class _Stream:
    """One output stream of the process: kept up to a limit for the execution under way, dropped between them.

    Args:
        descriptor: the reading end of its pipe, closed with the stream.
    """

    def __init__(self, descriptor: int) -> None:
        self._own = descriptor
        os.set_blocking(descriptor, False)
        self._kept = bytearray()
        self._most = 0
        asyncio.get_running_loop().add_reader(self._own, self._read)

    def begin(self, most: int) -> None:
        """Starts anew, with a limit in characters."""
        self._read()
        self._kept, self._most = bytearray(), most

    def taken(self) -> str:
        """What has come since `begin`."""
        # Node writes to a pipe at once, so what was printed before the reply is in it by now.
        self._read()
        text = self._kept.decode("utf-8", "replace")[: self._most]
        self._most = 0
        return text

    def close(self) -> None:
        """Stops reading."""
        if self._own >= 0:
            asyncio.get_running_loop().remove_reader(self._own)
            os.close(self._own)
            self._own = -1

    def _read(self) -> None:
        if self._own < 0:
            return
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._own, 65536):
                self._kept += chunk[: max(0, 4 * self._most - len(self._kept))]
            # Its end: it would be reported as readable for ever.
            asyncio.get_running_loop().remove_reader(self._own)
