"""A proxy between the player and the app that loses replies and delivers requests twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import requests

FORWARD_SECONDS = 60
# Of one connection: they are not the app's.
_HOP = frozenset({"connection", "content-length", "keep-alive", "server", "date", "transfer-encoding"})


@dataclass(frozen=True)
class Passed:
    """A request that came through; header names in lower case. `status` is what the app answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int


@dataclass
class FaultyProxy:
    """The proxy's address and what has come through.

    Attributes:
        url: of the proxy.
        lose: whether the reply to the request of this number, method and path is lost on its way back.
        twice: whether a request is delivered twice at the same time.
        front: turns the request's headers into those that the app gets, or into a status to answer with: what
            stands in front of the app, such as App Service authentication.
        passed: in the order of the replies.
    """

    url: str
    lose: Callable[[int, str, str], bool] = lambda number, method, path: False
    twice: Callable[[str, str], bool] = lambda method, path: False
    front: Callable[[Mapping[str, str]], Mapping[str, str] | int] = lambda headers: headers
    passed: list[Passed] = field(default_factory=list)

    def requests(self, method: str, path_start: str) -> list[Passed]:
        """The requests of a method to paths with a beginning."""
        return [row for row in self.passed if row.method == method and row.path.startswith(path_start)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    app_url: str
    numbers: Iterator[int]
    lock: threading.Lock

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.lock:
            number = next(self.numbers)
        headers = self.proxy.front({name.lower(): value for name, value in self.headers.items()})
        if isinstance(headers, int):
            self._reply(headers, {}, b"")
            return
        reply = self._delivered(headers, body)
        if self.proxy.lose(number, self.command, self.path):
            self.close_connection = True
            return
        self._reply(reply.status_code, reply.headers, reply.content)

    do_GET = do_POST = handle_any

    def _delivered(self, headers: Mapping[str, str], body: bytes) -> requests.Response:
        if not self.proxy.twice(self.command, self.path):
            return self._forward(headers, body)
        second = threading.Thread(target=self._forward, args=(headers, body), daemon=True)
        second.start()
        reply = self._forward(headers, body)
        second.join(FORWARD_SECONDS)
        return reply

    def _forward(self, headers: Mapping[str, str], body: bytes) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.clear()
            # The Host stays the proxy's: addresses in replies lead through it again.
            reply = session.request(
                self.command,
                self.app_url + self.path,
                headers={name: value for name, value in headers.items() if name not in _HOP},
                data=body,
                timeout=FORWARD_SECONDS,
                allow_redirects=False,
            )
        with self.lock:
            self.proxy.passed.append(Passed(self.command, self.path, dict(headers), body, reply.status_code))
        return reply

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def proxy_to(app_url: str) -> Iterator[FaultyProxy]:
    """Runs a proxy in front of an app."""
    proxy = FaultyProxy("")
    shared = {"proxy": proxy, "app_url": app_url, "numbers": count(), "lock": threading.Lock()}
    kind = type("Handler", (_Handler,), shared)
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join(5)
