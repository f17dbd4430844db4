"""Posting a run's reply to the address that its caller named.

That URL is a secret, because it is signed, and it is the caller's choice, who could make it lead into the app's own
network. So callbacks go to hosts of `CALLBACK_HOSTS` only, by https only; the name is resolved once, each of its
addresses has to be a public one, and the connection is made to an address that was checked while TLS verifies the name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from shared import retry
from shared.deadline import Deadline
from shared.errors import DeadlineReached, InvalidRequest, SettingError
from shared.pool_transport import USER_AGENT
from shared.public_addresses import is_public
from shared.runs import CALLBACK_URL_CHARACTERS_MAX, Callback, Run
from shared.settings import Settings

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 4.0
# All attempts and pauses together, and each attempt.
DELIVERY_SECONDS = 120.0
ATTEMPT_SECONDS = 20.0
PORT = 443

_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z")
_SECRET_BYTES = range(24, 65)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """How a callback gets out.

    Attributes:
        resolve: all addresses of a host's name.
        connect: from an address, a port and a timeout in seconds to a connected socket.
        tls: verifies the host's name.
    """

    resolve: Callable[[str], Sequence[str]]
    connect: Callable[[str, int, float], socket.socket]
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)


def check_url(url: str, settings: Settings) -> None:
    """Refuses addresses that no callback may go to.

    Args:
        url: as the caller gave it; no error quotes it.
        settings: with the hosts that are allowed.

    Raises:
        InvalidRequest: `callback_url_invalid`.
        SettingError: callbacks could not be signed.
    """
    _target(url, settings)
    _signing_key(settings)


def deliver(
    run: Run,
    reply: bytes,
    settings: Settings,
    *,
    network: Network | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Callback:
    """Posts a reply to a run's callback, again after 429, 5xx and lost connections, for two minutes at most.

    Not counted is a look-up of the host's name, of which only the system's resolver knows when to give up.

    Args:
        run: with a callback.
        reply: the body, JSON.
        settings: with the hosts that are allowed and the secret that signs.
        network: the real one unless a test brings its own.
        sleep: waits between attempts, in seconds.
        clock: seconds since the epoch, for the signature.

    Returns:
        The callback as it stands then: `delivered` or `given_up`.
    """
    if run.callback is None:
        raise ValueError("the run has no callback")
    return _Delivery(run.callback, network or _real_network(), sleep).carry_out(run.run_id, reply, settings, clock)


class _Delivery:
    """One callback's attempts."""

    def __init__(self, callback: Callback, network: Network, sleep: Callable[[float], None]) -> None:
        self._callback = callback
        self._network = network
        self._sleep = sleep

    def carry_out(self, run_id: str, reply: bytes, settings: Settings, clock: Callable[[], float]) -> Callback:
        try:
            target = _target(self._callback.url, settings)
            key = _signing_key(settings)
        except (InvalidRequest, SettingError) as error:
            # It was allowed when the run was made.
            _log.warning("The callback of run %s is not sent: %s", run_id, error.code)
            return replace(self._callback, state="given_up")
        deadline = Deadline.after(DELIVERY_SECONDS)
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._attempt(target, reply, lambda: _headers(run_id, reply, key, clock()), deadline)
            self._callback = replace(self._callback, attempts=self._callback.attempts + 1, last_status=answer.status)
            if answer.is_final:
                break
            pause = answer.retry_after if answer.retry_after is not None else FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            if attempt == ATTEMPTS or pause >= deadline.remaining():
                break
            self._sleep(pause)
        if not answer.delivered:
            _log.warning("The callback of run %s was given up: %s", run_id, answer.status or answer.trouble)
        return replace(self._callback, state="delivered" if answer.delivered else "given_up")

    def _attempt(
        self, target: _Target, body: bytes, headers: Callable[[], Mapping[str, str]], deadline: Deadline
    ) -> _Answer:
        try:
            end = deadline.within(ATTEMPT_SECONDS)
            addresses = _checked(self._network.resolve(target.host))
            return _post(self._network, addresses, target, body, headers(), end)
        except (_Refused, ssl.SSLCertVerificationError) as error:
            return _Answer(trouble=type(error).__name__, is_final=True)
        except (OSError, http.client.HTTPException, DeadlineReached) as error:
            return _Answer(trouble=type(error).__name__)


@dataclass(frozen=True)
class _Target:
    host: str
    path: str = field(repr=False)


@dataclass(frozen=True)
class _Answer:
    """What came of an attempt: a status, or the trouble that there was instead."""

    status: int | None = None
    retry_after: int | None = None
    trouble: str = ""
    is_final: bool = False

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class _Refused(Exception):
    """The host's name leads to an address that no callback may go to."""


class _PinnedConnection(http.client.HTTPSConnection):
    """Over a socket that is connected already: between a check and a second look-up the name could move."""

    def __init__(self, host: str, plain: socket.socket, tls: ssl.SSLContext) -> None:
        super().__init__(host, PORT, context=tls)
        self._plain = plain
        self._tls = tls

    def connect(self) -> None:
        """Verifies the host's name."""
        self.sock = self._tls.wrap_socket(self._plain, server_hostname=self.host)

    def stop(self) -> None:
        """Ends a wait in another thread."""
        if self.sock is not None:
            # Not TLS's own shutdown: that takes the other thread's state away.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _post(
    network: Network,
    addresses: Sequence[str],
    target: _Target,
    body: bytes,
    headers: Mapping[str, str],
    deadline: Deadline,
) -> _Answer:
    plain = _connected(network, addresses, deadline)
    # Each piece of an answer may take so long; the interruption bounds them all together.
    plain.settimeout(deadline.remaining())
    connection = _PinnedConnection(target.host, plain, network.tls)
    with closing(plain), closing(connection), deadline.interrupting(connection.stop):
        # http.client follows no redirect and knows no proxy, no .netrc and no cookies.
        connection.request("POST", target.path, body, dict(headers))
        response = connection.getresponse()
        again = response.status == 429 or response.status >= 500
        # Its status says all: of the body nothing is read, however long it is.
        return _Answer(response.status, retry.retry_after(_lower(response)), is_final=not again)


def _lower(response: http.client.HTTPResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _target(url: str, settings: Settings) -> _Target:
    try:
        if len(url) > CALLBACK_URL_CHARACTERS_MAX or not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
            raise ValueError("not a URL")
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        fits = parts.scheme == "https" and "@" not in parts.netloc and parts.port in (None, PORT)
    except ValueError:
        fits, host = False, ""
    if not fits or not _HOST.match(host) or not _is_allowed(host, settings.callback_hosts):
        raise InvalidRequest(
            "callback_url_invalid",
            "callback_url has to be an https URL at a host that CALLBACK_HOSTS allows, without port, user or password.",
            field="callback_url",
        )
    return _Target(host, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _is_allowed(host: str, hosts: str) -> bool:
    allowed = [entry.strip().lower() for entry in hosts.split(",")]
    # A suffix begins with its dot, so that it ends no other label.
    return any(
        host == entry or (entry.startswith(".") and len(entry) > 1 and host.endswith(entry)) for entry in allowed
    )


def _checked(addresses: Sequence[str]) -> Sequence[str]:
    # One that is not public among them is no oversight of a well-meaning host.
    if not all(map(is_public, addresses)):
        raise _Refused
    return addresses


def _connected(network: Network, addresses: Sequence[str], deadline: Deadline) -> socket.socket:
    trouble = OSError("the name has no address")
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            return network.connect(address, PORT, deadline.remaining() / left)
        except OSError as error:
            trouble = error
    raise trouble


def _signing_key(settings: Settings) -> bytes | None:
    text = settings.callback_secret
    if not text:
        return None
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or len(key) not in _SECRET_BYTES:
        raise SettingError("CALLBACK_SECRET", "CALLBACK_SECRET is not whsec_ and 24 to 64 bytes as base64.")
    return key


def _headers(run_id: str, body: bytes, key: bytes | None, now: float) -> dict[str, str]:
    # One id for all attempts: by it a receiver knows a repetition.
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": f"run_{run_id}",
        "webhook-timestamp": str(int(now)),
    }
    if key is not None:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _resolve(host: str) -> list[str]:
    # It takes no timeout. glibc's resolver asks each server twice for 5 s, unless resolv.conf says otherwise.
    rows = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


def _connect(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), seconds)


def _real_network() -> Network:
    return Network(_resolve, _connect)
