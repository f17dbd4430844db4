"""Counts the requests to a storage account by what they do, from between the app and Azurite."""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from local.azurite import ACCOUNT, KEY

REPLY_SECONDS = 60
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}|\d{6,}[^/]*")


@dataclass
class StorageCalls:
    """What was asked, and the connection string that leads here."""

    connection_string: str = ""
    counts: Counter[str] = field(default_factory=Counter)


@contextmanager
def counted(azurite: str) -> Iterator[StorageCalls]:
    """Counts on the way to an Azurite.

    Args:
        azurite: its connection string.
    """
    calls = StorageCalls()
    endpoints = dict(part.partition("=")[::2] for part in azurite.split(";"))
    servers = [_server(calls, name, endpoints[f"{name}Endpoint"]) for name in ("Blob", "Queue")]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    ports = [server.server_address[1] for server in servers]
    calls.connection_string = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{ports[0]}/{ACCOUNT};QueueEndpoint=http://127.0.0.1:{ports[1]}/{ACCOUNT};"
    )
    try:
        yield calls
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _server(calls: StorageCalls, service: str, endpoint: str) -> ThreadingHTTPServer:
    where = urlsplit(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.azurite = http.client.HTTPConnection(str(where.hostname), where.port, timeout=REPLY_SECONDS)

        def finish(self) -> None:
            self.azurite.close()
            super().finish()

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            self.azurite.request(self.command, self.path, body, headers)
            reply = self.azurite.getresponse()
            content = reply.read()
            calls.counts[_kind(service, self.command, self.path, reply.status)] += 1
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            length = reply.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Counts are enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server


def _kind(service: str, method: str, path: str, status: int) -> str:
    """What a request does, with the ids taken out of its path."""
    parts = urlsplit(path)
    query = parse_qs(parts.query)
    name = _ID.sub("*", parts.path.removeprefix(f"/{ACCOUNT}/"))
    aspect = query.get("comp", query.get("restype", [""]))[0]
    refused = f" {status}" if status >= 400 else ""
    return f"{service} {method} {name}{' ' + aspect if aspect else ''}{refused}"
