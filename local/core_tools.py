"""Core Tools' `func start` as a part of the local stack.

Takes the place of `local.functions_host` where Azure Functions Core Tools are installed. It adds what
`func` itself lacks as a part: the ready line, and an end when standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from local import serve

_START_SECONDS = 120
_STOP_SECONDS = 10


def main() -> int:
    """Runs `func start` until told to stop; returns its exit code."""
    parser = serve.argument_parser(__doc__ or "", default_port=7071)
    parser.add_argument("--app-dir", type=Path, required=True, help="folder of function_app.py")
    options = parser.parse_args()
    port = options.port or _free_port()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if options.with_parent:
        threading.Thread(target=_set_when_input_closes, args=(stop,), daemon=True).start()
    process = subprocess.Popen(  # noqa: S603  # the user's own Core Tools, no shell
        ["func", "start", "--port", str(port)],  # noqa: S607  # wherever it is installed
        cwd=options.app_dir,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
    )
    try:
        _announce(process, f"http://127.0.0.1:{port}", stop)
        while process.poll() is None and not stop.wait(0.2):
            pass
    finally:
        _end(process)
    return 0 if stop.is_set() else process.returncode or 1


def _environment() -> dict[str, str]:
    """This environment, with the virtual environment's Python as the one that `func` runs the app with."""
    return {
        **os.environ,
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "VIRTUAL_ENV": sys.prefix,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((serve.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _announce(process: subprocess.Popen[bytes], url: str, stop: threading.Event) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline and not stop.wait(0.3):
        try:
            with opener.open(f"{url}/api/health", timeout=5) as reply:
                if reply.status == 200:
                    sys.stdout.write(json.dumps({"url": url}) + "\n")
                    sys.stdout.flush()
                    return
        except (urllib.error.URLError, OSError):
            continue


def _set_when_input_closes(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
            process.wait(timeout=_STOP_SECONDS)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):  # nobody is left in the group
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait(timeout=_STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
