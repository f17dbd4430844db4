"""The first process of a container: starts what the emulator asks for, and takes everything along when it ends.

It runs under the sessions' own interpreter, in the sandbox where there is one, and needs the standard library
only. Requests and reports are lines of JSON over the socket whose number is the argument:

    {"limits": {"NPROC": 256, ...}}                     once, before the first start
    {"alone": true}                                     from now on, what a process leaves running ends with it
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
from collections.abc import Container

REQUEST_BYTES_MAX = 1 << 20
PARENT_VARIABLE = "JPY_PARENT_PID"
PR_SET_CHILD_SUBREAPER = 36
KILL_ROUNDS = 20


class Init:
    """Serves one control socket until it closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._alone = False
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
        # Not `select`: among many containers the socket's number can be above what it takes.
        waiting = select.poll()
        for descriptor in (self._control.fileno(), ended):
            waiting.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in waiting.poll()]
            if ended in ready:
                os.read(ended, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._take():
                return

    def kill_all(self) -> None:
        """Ends every process that was started, and those that they have started."""
        for pid in list(self._children):
            self._kill_group(pid)
        self._children.clear()
        self._end_others()

    def _end_others(self) -> None:
        """Ends what this process has not started itself, or started and no longer knows."""
        # Those that left their group become children of this process when their parents end.
        for _ in range(KILL_ROUNDS):
            others = _below(os.getpid(), self._children.keys())
            if not others:
                return
            killed = []
            for pid in others:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            for pid in killed:
                # Fails for children's children, which are adopted and found again in the next round.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

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
            self._kill_group(request["kill"])
        self._alone = self._alone or "alone" in request
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
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.get(pid)
            if child is not None:
                child.returncode = os.waitstatus_to_exitcode(status)
                # What it has left behind in its group would go on without anybody to stop it.
                self._kill_group(pid)
                del self._children[pid]
                if self._alone:
                    self._end_others()
                self._say({"ended": pid, "code": child.returncode})

    def _kill_group(self, pid: int) -> None:
        if pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _say(self, report: dict) -> None:  # type: ignore[type-arg]  # JSON
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(json.dumps(report).encode() + b"\n")


def _below(pid: int, known: Container[int]) -> list[int]:
    """The processes below one, those that are known and theirs left out; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The second field, the program's name in parentheses, may hold spaces.
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        below = [child for child in children.get(todo.pop(), []) if child not in known]
        found += below
        todo += below
    return found


def _adopt_orphans() -> None:
    import ctypes

    # Linux only; elsewhere what leaves its group is not found again.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    """Serves the socket named on the command line."""
    _adopt_orphans()
    init = Init(socket.socket(fileno=int(sys.argv[1])))
    try:
        init.serve()
    finally:
        init.kill_all()


if __name__ == "__main__":
    main()
