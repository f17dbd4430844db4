"""The first process of a container: starts what the emulator asks for, and takes everything along when it ends.

It runs under the sessions' own interpreter, in the sandbox where there is one, and needs the standard library
only. Requests and reports are lines of JSON over the socket whose number is the only argument:

    {"limits": {"NPROC": 256, ...}}                     once, before the first start
    {"start": [...], "cwd": ..., "env": {...}}          with the descriptors of its three streams
    {"kill": pid}                                       the process and its group
    <- {"started": pid} or {"failed": reason}           to each start
    <- {"ended": pid, "code": n}                        when one ends
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys

REQUEST_BYTES_MAX = 1 << 20
PARENT_VARIABLE = "JPY_PARENT_PID"


class Init:
    """Serves one control socket until it closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._buffer = b""
        self._descriptors: list[int] = []

    def serve(self) -> None:
        """Answers requests; returns when the emulator has gone."""
        ended, wake = os.pipe()
        for end in (ended, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._say({"ready": os.getpid()})
        control = self._control.fileno()
        while True:
            ready, _, _ = select.select([control, ended], [], [])
            if ended in ready:
                os.read(ended, 4096)
                self._reap()
            if control in ready and not self._take():
                return

    def kill_all(self) -> None:
        """Ends every process that was started, with its group."""
        for pid in self._children:
            self._kill(pid)

    def _take(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 8)
        self._descriptors += descriptors
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._answer(json.loads(line))
        return bool(data) and len(self._buffer) < REQUEST_BYTES_MAX

    def _answer(self, request: dict) -> None:  # type: ignore[type-arg]  # JSON
        if "limits" in request:
            for name, value in request["limits"].items():
                kind = getattr(resource, f"RLIMIT_{name}")
                hard = resource.getrlimit(kind)[1]
                most = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(kind, (most, most))
        if "kill" in request:
            self._kill(request["kill"])
        if "start" in request:
            self._start(request)

    def _start(self, request: dict) -> None:  # type: ignore[type-arg]  # JSON
        streams, self._descriptors = self._descriptors[:3], self._descriptors[3:]
        environment = {**request["env"], PARENT_VARIABLE: str(os.getpid())}
        try:
            child = subprocess.Popen(  # noqa: S603  # running code is what a session is for
                request["start"],
                cwd=request["cwd"],
                env=environment,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._say({"failed": f"{type(error).__name__}: {error}"})
        else:
            self._children[child.pid] = child
            self._say({"started": child.pid})
        finally:
            for stream in streams:
                os.close(stream)

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                # What it has left behind in its group would go on without anybody to stop it.
                self._kill(pid)
                del self._children[pid]
                self._say({"ended": pid, "code": code})

    def _kill(self, pid: int) -> None:
        if pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _say(self, report: dict) -> None:  # type: ignore[type-arg]  # JSON
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(json.dumps(report).encode() + b"\n")


def main() -> None:
    """Serves the socket named on the command line."""
    init = Init(socket.socket(fileno=int(sys.argv[1])))
    try:
        init.serve()
    finally:
        init.kill_all()


if __name__ == "__main__":
    main()
