"""One process of the local stack: started, awaited until its ready line, stopped.

A part prints one line of JSON on standard output when it accepts connections, logs to standard error
and ends when its standard input closes (see `local.serve`). Because only this process holds the other
end of that pipe, the parts end with it, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LINES_KEPT = 500
_LINES_TOLD = 15
_LINE_BYTES_MAX = 4096


class PartFailed(Exception):
    """A part of the stack did not start, or ended by itself.

    Args:
        name: the part, as in `python -m local.<name>`.
        what: what happened, as the rest of a sentence that starts with the name.
        log: the last lines that the part logged.
    """

    def __init__(self, name: str, what: str, log: str = "") -> None:
        super().__init__(f"{name} {what}." + (f" It logged last:\n{log}" if log else ""))
        self.name = name


class Part:
    """A running part.

    Args:
        name: what to call it.
        command: program and arguments.
        environment: all of its environment.
        folder: its working folder.
        keep_log: keep the last lines that it logs; otherwise they go to this process's standard error.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, keep_log: bool
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(  # noqa: S603  # our own modules, no shell
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if keep_log else None,
            # Ctrl-C reaches this process alone, which then stops the parts in order.
            start_new_session=True,
        )
        self._first_line: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self._log: deque[bytes] = deque(maxlen=_LINES_KEPT)
        threading.Thread(target=self._read_output, daemon=True).start()
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def wait_ready(self, timeout_seconds: float) -> dict[str, Any]:
        """What the part announces once it accepts connections.

        Args:
            timeout_seconds: how long it may take.

        Raises:
            PartFailed: it ended first, took too long, or announced something else than a JSON object.
        """
        try:
            line = self._first_line.get(timeout=timeout_seconds)
        except queue.Empty:
            raise self.failure(f"was not ready after {timeout_seconds:.0f} s") from None
        if not line:
            raise self.failure()
        try:
            ready = json.loads(line)
        except ValueError:
            ready = None
        if not isinstance(ready, dict) or "url" not in ready:
            raise self.failure("announced something that is not a ready line")
        return ready

    def failure(self, what: str = "") -> PartFailed:
        """The error that says how this part ended.

        Args:
            what: what happened; by default, that it ended and with which code.
        """
        if not what:
            try:
                what = f"ended with exit code {self._process.wait(timeout=5)}"
            except subprocess.TimeoutExpired:
                what = "closed its output"
        # The last words may still be on their way.
        self._log_reader.join(timeout=0.2 if self.running else 5)
        return PartFailed(self.name, what, "\n".join(self.log().splitlines()[-_LINES_TOLD:]))

    def log(self) -> str:
        """The last lines it logged; empty when they go to the terminal."""
        return b"".join(list(self._log)).decode("utf-8", "replace")

    def ask_to_stop(self) -> None:
        """Tells the part to end and does not wait for it."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self.running:
            self._process.terminate()

    def stop(self, grace_seconds: float = 6) -> None:
        """Ends the part and whatever is left of its process group.

        Args:
            grace_seconds: how long it may take to end by itself.
        """
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
            self._process.wait(timeout=grace_seconds)
        self.kill()

    def kill(self) -> None:
        """Ends the part at once (SIGKILL), with its process group."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):  # nobody is left in the group
                os.killpg(self.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait(timeout=10)
        if self._process.stdin:
            self._process.stdin.close()

    def _read_output(self) -> None:
        # The rest is read as well, so that a part that prints more never blocks on a full pipe.
        output = self._process.stdout
        if output is None:
            return
        with output:
            self._first_line.put(output.readline(65536))
            while output.read(65536):
                pass

    def _read_log(self) -> None:
        log = self._process.stderr
        if log is None:
            return
        with log:
            while line := log.readline(_LINE_BYTES_MAX):
                self._log.append(line)
