"""One IPython kernel in a container, spoken to over Unix sockets."""

from __future__ import annotations

import ast
import asyncio
import json
import queue
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient

from local.session_pool.container import Container, ContainerLost, Process, SocketFolder
from local.session_pool.kernel_output import NO_RESULT, Output
from local.session_pool.outcome import ABORTED, FORGED, Outcome, timeout_text

READY_SECONDS = 60.0
INTERRUPT_GRACE_SECONDS = 2.0
# A frame of its own would be enough, but a dead kernel sends none: the wait is cut to look at the process.
POLL_SECONDS = 0.25
_STARTUP = Path(__file__).with_name("kernel_startup.py")
# A reply without the last of its output means that output was too large to be received.
SILENT_POLLS = 4
# What is larger is not decoded; what is larger still is not even received, and few messages at a time are.
MESSAGE_BYTES_MAX = 16 << 20
FRAME_BYTES_MAX = 32 << 20
MESSAGES_WAITING_MAX = 16
# What waits longer is the session's own memory's burden: the kernel would drop what comes after a thousand messages.
_PATIENCE = """
def _wait():
    import zmq
    thread = get_ipython().kernel.iopub_thread
    thread.schedule(lambda: thread.socket.setsockopt(zmq.SNDHWM, 0))


_wait()
del _wait
"""
_HEADERS_BYTES_MAX = 1 << 16
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class Kernel:
    """A running kernel; `start` makes one."""

    def __init__(self, process: Process, client: AsyncKernelClient, sockets: SocketFolder) -> None:
        self._process = process
        self._client = client
        self._sockets = sockets
        self._following = False

    @classmethod
    async def start(cls, container: Container, python: str) -> Kernel:
        """Starts a kernel and waits until it takes code.

        Args:
            container: where it lives.
            python: an interpreter with ipykernel.

        Raises:
            ContainerLost: the container has ended.
            RuntimeError: it did not become ready.
        """
        sockets = container.socket_folder()
        description = _connection()
        try:
            sockets.write("kernel.json", json.dumps({**description, "ip": f"{sockets.inside}/k"}))
            command = [python, "-m", "ipykernel_launcher", "-f", f"{sockets.inside}/kernel.json"]
            process = await container.spawn([*command, "--HistoryManager.enabled=False"], _environment(container.home))
        except BaseException:
            sockets.close()
            raise
        client = AsyncKernelClient()
        kernel = cls(process, client, sockets)
        try:
            outside: Any = {**description, "ip": str(sockets.path / "k")}
            client.load_connection_info(outside)
            # It would otherwise be for the emulator to hold what nobody has asked for yet.
            client.context.setsockopt(zmq.RCVHWM, MESSAGES_WAITING_MAX)
            client.context.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
            client.start_channels(stdin=False, hb=False)
            await _ready(client, process)
            installed = await kernel.execute(
                _STARTUP.read_text("utf-8") + _PATIENCE, timeout_seconds=READY_SECONDS, stream_length=0
            )
            if not installed.succeeded:
                raise RuntimeError("The kernel's start-up code failed.")
        except BaseException:
            await kernel.stop()
            raise
        return kernel

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive

    async def execute(self, code: str, *, timeout_seconds: float, stream_length: int, told: bool = False) -> Outcome:
        """Runs code to its end, its timeout, or the kernel's death.

        Args:
            code: Python as IPython takes it.
            timeout_seconds: then it is interrupted and, if it goes on, killed.
            stream_length: most characters kept of each stream.
            told: whether the text after a timeout names the seconds.
        """
        began = time.monotonic()
        output = Output(stream_length)
        request = self._client.execute(code, allow_stdin=False, store_history=stream_length > 0, stop_on_error=False)
        state = await self._follow(request, output, began + timeout_seconds)
        if state == "timeout":
            self._interrupt()
            state = await self._follow(request, output, time.monotonic() + INTERRUPT_GRACE_SECONDS)
            if state != "idle":
                await self.stop()
            text = timeout_text(timeout_seconds, told)
            outcome = self._ended(False, output, text, began, kernel_lost=state != "idle")
            return replace(outcome, timed_out=True)
        if state == "dead":
            return self._ended(False, output, ABORTED, began, kernel_lost=True)
        outcome = self._ended(not output.failed, output, output.stderr, began)
        if outcome.succeeded and output.result is NO_RESULT and _ends_in_none(code):
            return replace(outcome, result=None)
        return outcome

    async def stop(self) -> None:
        """Kills the kernel and what it has started."""
        await self._process.kill()
        # An execution that still reads finds the process dead and closes them.
        if not self._following:
            self._disconnect()

    def _ended(self, succeeded: bool, output: Output, stderr: str, began: float, kernel_lost: bool = False) -> Outcome:
        result = "" if output.result is NO_RESULT or not succeeded else output.result
        milliseconds = round((time.monotonic() - began) * 1000)
        return Outcome(succeeded, output.stdout, stderr[: output.limit], result, milliseconds, kernel_lost, output.text)

    async def _follow(self, request: str, output: Output, until: float) -> str:
        self._following = True
        try:
            state = await self._read(request, output, until)
            if state == "idle":
                await self._settle(request, output)
            return state
        finally:
            self._following = False
            if not self.alive:
                self._disconnect()

    async def _read(self, request: str, output: Output, until: float) -> str:
        silent = 0
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return "timeout"
            try:
                message = await self._output(min(left, POLL_SECONDS))
                if message["parent_header"].get("msg_id") == request and output.take(message):
                    return "idle"
            except queue.Empty:
                if not self.alive:
                    return "dead"
                silent = silent + 1 if silent or await self._replied(request, output) else 0
                if silent > SILENT_POLLS:
                    output.lose()
                    return await self._reconnected()
            except FORGED:
                continue

    async def _reconnected(self) -> str:
        # The library ends the connection over which too large a message came, and makes no other.
        url, socket = self._client._make_url("iopub"), self._client.iopub_channel.socket
        with suppress(zmq.ZMQError):
            socket.disconnect(url)
        socket.connect(url)
        try:
            await _ready(self._client, self._process)
        except (ContainerLost, RuntimeError):
            await self._process.kill()
            return "dead"
        return "idle"

    async def _output(self, seconds: float) -> dict[str, Any]:
        """The next message of the output channel; the content of one that is too large is None."""
        socket, session = self._client.iopub_channel.socket, self._client.session
        if not await socket.poll(round(seconds * 1000)):
            raise queue.Empty
        _, parts = session.feed_identities(await socket.recv_multipart())
        # What is there already is received without a pause; other sessions are to have their turn.
        await asyncio.sleep(0)
        if sum(len(part) for part in parts) <= MESSAGE_BYTES_MAX:
            message: dict[str, Any] = session.deserialize(parts)
            return message
        if len(parts[1]) + len(parts[2]) > _HEADERS_BYTES_MAX:
            raise ValueError("no message of a kernel")
        header, parent = session.unpack(parts[1]), session.unpack(parts[2])
        return {"msg_type": header["msg_type"], "parent_header": parent, "content": None}

    async def _replied(self, request: str, output: Output) -> bool:
        channel, found = self._client.shell_channel, False
        while await channel.msg_ready():
            with suppress(*FORGED):
                reply = await channel.get_msg(timeout=0)
                if reply["parent_header"]["msg_id"] == request and reply["msg_type"] == "execute_reply":
                    found = True
                    output.failed |= reply["content"]["status"] != "ok"
        return found

    async def _settle(self, request: str, output: Output) -> None:
        # Of an error that cannot be shown, such as one for want of memory, the reply alone tells. It is sent first.
        if not await self._replied(request, output):
            await self._client.shell_channel.socket.poll(round(POLL_SECONDS * 1000))
            await self._replied(request, output)
        # Unread, these would pile up.
        while await self._client.control_channel.msg_ready():
            with suppress(*FORGED):
                await self._client.control_channel.get_msg(timeout=0)

    def _disconnect(self) -> None:
        self._client.stop_channels()
        self._sockets.close()

    def _interrupt(self) -> None:
        channel = self._client.control_channel
        channel.send(self._client.session.msg("interrupt_request", {}))


async def _ready(client: AsyncKernelClient, process: Process) -> None:
    """Waits until a kernel answers, or its process ends."""
    ended = asyncio.create_task(process.wait())
    ready = asyncio.create_task(client.wait_for_ready(timeout=READY_SECONDS))
    try:
        await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise ContainerLost("the kernel has ended")
        await ready
    finally:
        for task in (ended, ready):
            task.cancel()
        await asyncio.gather(ended, ready, return_exceptions=True)


def _connection() -> dict[str, Any]:
    """What a kernel and its client have to agree on, but for the sockets' path, which each sees in its own way."""
    ports = {f"{name}_port": number for number, name in enumerate(_CHANNELS, 1)}
    return {"transport": "ipc", "key": secrets.token_hex(), "signature_scheme": "hmac-sha256", **ports}


def _environment(home: str) -> dict[str, str]:
    # Nothing of the emulator's own environment: it may hold keys.
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "LANG": "C.UTF-8",
    }


def _ends_in_none(code: str) -> bool:
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    last = body[-1] if body else None
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is None
