"""Where services call back: the HTTPS end of an HTTP Webhook action."""

from __future__ import annotations

import datetime
import json
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "prod-17.westeurope.logic.azure.com"


@dataclass(frozen=True)
class Called:
    """A callback that arrived; header names in lower case. `status` is what it was answered with."""

    path: str
    headers: dict[str, str]
    body: Any
    status: int


@dataclass
class CallbackListener:
    """Takes callbacks for one workflow.

    Attributes:
        port: that it listens on, which is in its URLs.
        certificate: PEM file that clients have to trust.
        faults: statuses for the next callbacks, in place of taking them.
        calls: everything that arrived, in order.
        answering: called with the path of each callback; gives a status in place of taking it, or None. May block.
    """

    port: int
    certificate: Path
    faults: list[int] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    answering: Callable[[str], int | None] = lambda path: None

    def __post_init__(self) -> None:
        self._waiting: dict[str, queue.Queue[Called | None]] = {}
        self._lock = threading.Lock()

    def open(self, workflow: str, run: str, action: str) -> str:
        """A callback URL, as `listCallbackUrl()` makes it; its signature is a secret."""
        path = f"/workflows/{workflow}/runs/{run}/actions/{quote(action)}/run"
        with self._lock:
            self._waiting.setdefault(path, queue.Queue())
        permission = quote(f"/runs/{run}/actions/{action}/run", safe="")
        query = f"api-version=2016-10-01&sp={permission}&sv=1.0&sig=secret-{run}"
        return f"https://{HOST}:{self.port}{path}?{query}"

    def wait(self, url: str, timeout_seconds: float) -> Called | None:
        """The callback for a URL; None where none comes in the time, or the action has ended."""
        try:
            return self._waiting[urlsplit(url).path].get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def close(self, url: str) -> None:
        """The action has ended: later callbacks find nothing, and who waits is woken."""
        with self._lock:
            waiting = self._waiting.pop(urlsplit(url).path, None)
        if waiting is not None:
            waiting.put(None)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Notes a callback.

        Returns:
            The status to answer with: 404 where no action waits.
        """
        with self._lock:
            waiting = self._waiting.get(urlsplit(path).path)
            status = self.faults.pop(0) if self.faults else 404 if waiting is None else 202
        status = self.answering(path) or status
        with self._lock:
            called = Called(path, headers, json.loads(body), status)
            self.calls.append(called)
            if status == 202 and waiting is not None:
                waiting.put(called)
        return status


@contextmanager
def listening(folder: Path, address: str = "127.0.0.1", port: int = 0) -> Iterator[CallbackListener]:
    """A listener with a certificate for `HOST`.

    Args:
        folder: for the certificate and its key.
        address: to listen on.
        port: 0 for any free one.
    """
    certificate, key = _write_certificate(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(listener.take(self.path, headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer((address, port), Handler) as server:
        listener = CallbackListener(server.server_address[1], certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake belongs to the connection's thread, not to the one that accepts.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join(5)


def _write_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "callbacks.pem", folder / "callbacks.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
