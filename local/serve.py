"""Runs one part of the local stack: an ASGI app on loopback, from its ready line to its orderly end.

Every part is a process of its own (`python -m local.identity`, `python -m local.session_pool`, ...).
When it accepts connections it prints one line of JSON with its `url`, and nothing else, on standard
output. It ends on SIGINT or SIGTERM, and with `--with-parent` when standard input closes, which is
what happens when the process that started it dies, however it dies.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


def argument_parser(description: str, *, default_port: int = 0) -> argparse.ArgumentParser:
    """The options that all parts share.

    Args:
        description: what `--help` says about the part.
        default_port: the port without `--port`; 0 lets the system choose.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=_port, default=default_port, help="port on 127.0.0.1; 0 lets the system choose")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser


def run(
    app: ASGIApp,
    *,
    port: int,
    host: str = LOOPBACK,
    with_parent: bool = False,
    announce: Callable[[str], Mapping[str, object]] | None = None,
    show: Callable[[Mapping[str, object]], str] | None = None,
    shutdown_seconds: int = 3,
    listener: socket.socket | None = None,
    certificate: Sequence[Path] | None = None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serves `app` until the process is told to stop.

    Args:
        app: the ASGI application; its lifespan runs before the ready line and after the last request.
        port: TCP port, 0 for any free one.
        host: the address to listen on.
        with_parent: also stop when standard input closes.
        announce: given the url, what the ready line says besides it.
        show: makes the ready line's content readable for a person; without it, it is a line of JSON.
        shutdown_seconds: how long requests under way may take to finish.
        listener: what `listen` gave, for a part that must know its port before its app exists.
        certificate: files of a certificate and its key, for https.
        stopping: called when it is told to stop, before requests under way finish.

    Raises:
        OSError: the port is taken.
    """
    listener = listener or listen(port, host)
    shown_host = f"[{host}]" if ":" in host else host
    url = f"{'https' if certificate else 'http'}://{shown_host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=shutdown_seconds,
        access_log=False,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    ready = {"url": url, **(announce(url) if announce else {})}
    server = _AnnouncingServer(config, show(ready) if show else json.dumps(ready), stopping)
    if with_parent:
        threading.Thread(target=_stop_when_input_closes, args=(server,), daemon=True).start()
    # uvicorn raises a signal again once it has stopped for it: by default that would end the process here, with
    # nothing put away.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    with listener, contextlib.suppress(_Stopped):
        asyncio.run(server.serve(sockets=[listener]))


class _Stopped(BaseException):
    """The process was told to stop."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A socket that listens; connections wait in its queue until `run` serves it.

    Args:
        port: TCP port, 0 for any free one.
        host: the address.

    Raises:
        OSError: the port is taken.
    """
    # asyncio switches off Nagle's algorithm only where the protocol is named: it costs 40 ms a request.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Bound alone, two processes could still share the port.
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


class _AnnouncingServer(uvicorn.Server):
    """A uvicorn server that says on standard output when it is ready, and to its app when it begins to stop."""

    def __init__(self, config: uvicorn.Config, ready: str, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(self._ready + "\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)


def _stop_when_input_closes(server: uvicorn.Server) -> None:
    # Reading the descriptor itself: a daemon thread inside sys.stdin's lock would abort the interpreter's exit.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port
