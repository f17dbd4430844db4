"""`python -m local.azurite [--port FIRST] [--location DIR]`: blobs, queues and tables on loopback.

The ready line on standard output has `url` (the blob service's) and `env`. Blobs, queues and tables have three ports
that follow each other. Without `--location` everything is in memory and gone with the process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from local.azurite import FOLDER, SCRIPT, connection_string, missing

LOOPBACK = "127.0.0.1"
_SERVICES = ("blob", "queue", "table")
_LAST_TO_START = b"Table service is successfully listening"
_PORT_TRIES = 50
# Below those that systems give to outgoing connections, which could take one before Azurite does.
_PORTS = range(20_000, 32_000, len(_SERVICES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs Azurite until told to stop; returns 0 then, 1 when it did not start or ended by itself."""
    options = _options(arguments)
    reason = missing()
    if reason:
        sys.stderr.write(reason + "\n")
        return 1
    try:
        port = options.port or free_ports()
        with _claimed(options.location) as location:
            process = subprocess.Popen(  # noqa: S603  # the package that dev.py installed, no shell
                _command(port, location),
                cwd=FOLDER,
                env={name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            return _attend(process, port, with_parent=options.with_parent)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the first of three ports; 0 for free ones")
    parser.add_argument("--location", type=Path, help="folder that keeps everything; in memory without it")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser.parse_args(arguments)


def _command(port: int, location: Path | None) -> list[str]:
    command = ["node", "--require", str(Path(__file__).with_name("with_parent.js")), str(SCRIPT)]
    for position, service in enumerate(_SERVICES):
        command += [f"--{service}Host", LOOPBACK, f"--{service}Port", str(port + position)]
    # The SDKs send a newer API version than Azurite knows.
    command += ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    return [*command, *(["--location", str(location)] if location else ["--inMemoryPersistence"])]


def _attend(process: subprocess.Popen[bytes], port: int, *, with_parent: bool) -> int:
    """Announces Azurite when it is ready, and waits for its end."""
    asked = threading.Event()

    def end() -> None:
        asked.set()
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end())
    if with_parent:
        threading.Thread(target=_when_input_closes, args=(end,), daemon=True).start()
    if process.stdout:
        _announce(process.stdout, port)
    end_code = process.wait()
    return 0 if asked.is_set() else end_code or 1


def _announce(output: IO[bytes], port: int) -> None:
    """Prints the ready line once the last service listens, and reads on until Azurite ends."""
    for line in output:
        if _LAST_TO_START in line:
            ready = {
                "url": f"http://{LOOPBACK}:{port}",
                "env": {"AzureWebJobsStorage": connection_string(port)},
            }
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()


@contextlib.contextmanager
def _claimed(location: Path | None) -> Iterator[Path | None]:
    """The folder, for this process alone: two that write it would ruin it. None where another one has it."""
    if location is None:
        yield None
        return
    location = location.resolve()
    location.mkdir(parents=True, exist_ok=True)
    with (location / "lock").open("w") as lock:
        try:
            _lock(lock)
        except OSError:
            sys.stderr.write("Another Azurite uses the folder; this one keeps everything in memory.\n")
            yield None
            return
        yield location


def _lock(file: IO[str]) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def free_ports() -> int:
    """The first of three free ports that follow each other."""
    for _ in range(_PORT_TRIES):
        port = random.choice(_PORTS)  # noqa: S311  # nobody has to be kept from guessing it
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for position in range(len(_SERVICES)):
                probes.enter_context(socket.create_server((LOOPBACK, port + position)))
            return port
    raise OSError("No three free ports in a row were found.")


def _when_input_closes(end: Callable[[], None]) -> None:
    # The descriptor itself: a daemon thread inside sys.stdin's lock would abort the interpreter's exit.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    end()


if __name__ == "__main__":
    sys.exit(main())
