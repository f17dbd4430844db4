"""An HTTP server on loopback that answers as a test says: for replies that no well-behaved service gives."""

from __future__ import annotations

import io
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# No wait of the server outlives it, and none is longer than this even where a client waits for ever.
SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Received:
    """A request as it arrived; header names in lower case. One `client_port` is one connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client_port: int = 0


@dataclass(frozen=True)
class Answer:
    """A reply.

    Attributes:
        status: of HTTP.
        body: its bytes.
        headers: win over the server's own, so that a Content-Length may be wrong.
        hang_up: closes the connection instead.
        silent: never answers.
        drip_seconds: between any two bytes of the body.
        drips_head: the status line and the headers come as slowly as the body.
        unsized: the body has no length and ends with the connection.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    silent: bool = False
    drip_seconds: float = 0.0
    drips_head: bool = False
    unsized: bool = False


@dataclass
class ScriptedServer:
    """The server's address and what it has received."""

    url: str
    received: list[Received] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Callable[[Received], Answer]
    ending: threading.Event

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = type(self).answer(Received(self.command, self.path, headers, body, self.client_address[1]))
        if reply.silent:
            self.ending.wait(SECONDS_MAX)
        if reply.silent or reply.hang_up:
            self.close_connection = True
            return
        # The client may have given up.
        with suppress(OSError):
            head = self._head(reply)
            self._send(head, reply.drip_seconds if reply.drips_head else 0.0)
            self._send(reply.body, reply.drip_seconds)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def _head(self, reply: Answer) -> bytes:
        own = {"Content-Type": "application/json"}
        own |= {"Connection": "close"} if reply.unsized else {"Content-Length": str(len(reply.body))}
        self.send_response(reply.status)
        for name, value in {**own, **reply.headers}.items():
            self.send_header(name, value)
        head = io.BytesIO()
        wire, self.wfile = self.wfile, head
        self.end_headers()
        self.wfile = wire
        return head.getvalue()

    def _send(self, data: bytes, drip_seconds: float) -> None:
        if not drip_seconds:
            self.wfile.write(data)
            return
        for number in range(min(len(data), int(SECONDS_MAX / drip_seconds))):
            if self.ending.wait(drip_seconds):
                break
            self.wfile.write(data[number : number + 1])
        self.close_connection = True


@contextmanager
def scripted_server(
    answer: Callable[[int, Received], Answer], *, tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedServer]:
    """Runs a server; `answer` is called with the request's number, from 0, and the request; `tls` makes it https."""
    server = ScriptedServer("")
    lock = threading.Lock()

    class Handler(_Handler):
        ending = threading.Event()

        @staticmethod
        def answer(request: Received) -> Answer:
            with lock:
                number = len(server.received)
                server.received.append(request)
            return answer(number, request)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        if tls is not None:
            http.socket = tls.wrap_socket(http.socket, server_side=True)
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            Handler.ending.set()
            http.shutdown()
            thread.join(5)
