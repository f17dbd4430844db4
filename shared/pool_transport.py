"""How a request reaches a session pool: token, deadline, and another attempt where that is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3

from shared import VERSION, errors, retry, session_wire, telemetry
from shared.deadline import Deadline
from shared.identity import BearerTokens

USER_AGENT = f"autogen-aca-sessions/{VERSION} (Language=Python)"
CONNECT_SECONDS = 5.0
REPLY_BYTES_MAX = 140_000_000


@dataclass(frozen=True)
class Reply:
    """An HTTP reply, read to its end. `headers` is case-insensitive."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class _Call:
    method: str
    url: str
    deadline: Deadline
    seconds: float
    repeatable: bool
    limit_bytes: int
    options: Mapping[str, Any]


class PoolTransport:
    """Connections to one pool; safe to share between threads.

    Args:
        tokens: bearer tokens for the pool.
        sleep: waits between attempts, in seconds.
    """

    def __init__(self, tokens: BearerTokens, sleep: Callable[[float], None] = time.sleep) -> None:
        self._tokens = tokens
        self._sleep = sleep
        self._http = requests.Session()
        self._http.headers["User-Agent"] = USER_AGENT
        # One process serves many people: no cookie may go from one's reply to another's request.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self._http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=100, max_retries=0))

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        seconds: float,
        repeatable: bool = True,
        limit_bytes: int = REPLY_BYTES_MAX,
        **options: Any,
    ) -> Reply:
        """Sends a request, and again by `shared.retry` where an attempt cannot have run code.

        Args:
            method: HTTP method.
            url: absolute.
            deadline: bounds all attempts and pauses together.
            seconds: bounds each attempt.
            repeatable: whether doing it twice is harmless. If not, only refusals that come before the
                work are tried again: nothing was sent, 429, and 503 with Retry-After.
            limit_bytes: most bytes of the reply.
            options: as for `requests.request`.

        Returns:
            The last reply, whatever its status.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolUnreachable: the last attempt got no connection or, where repeatable, no answer.
            PoolOutcomeUnknown: not repeatable, and it was sent and got no answer.
            PoolLimitExceeded: the reply is longer than `limit_bytes`.
        """
        call = _Call(method, url, deadline, seconds, repeatable, limit_bytes, options)
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = self._tokens.send(lambda token: self._once(call, token), deadline)
            except errors.PoolUnreachable:
                pause = retry.pause(attempt, {}, deadline)
                if pause is None:
                    raise
            else:
                if _is_full(reply):
                    telemetry.pool_full()
                pause = retry.pause(attempt, reply.headers, deadline) if _may_repeat(reply, repeatable) else None
                if pause is None:
                    return reply
            self._sleep(pause)

    def close(self) -> None:
        """Closes the connections; another request opens new ones."""
        self._http.close()

    def _once(self, call: _Call, token: str) -> Reply:
        end = call.deadline.within(call.seconds)
        left = end.remaining()
        outgoing = _Outgoing(token)
        try:
            with self._http.request(
                call.method,
                call.url,
                auth=outgoing,
                timeout=(min(CONNECT_SECONDS, left), left),
                allow_redirects=False,
                stream=True,
                **call.options,
            ) as response:
                return Reply(response.status_code, response.headers, _read(response, end, call.limit_bytes))
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            # The exception's own text holds the URL, hence `from None`.
            if not outgoing.begun:
                raise errors.PoolUnreachable from None
            call.deadline.check()
            if call.repeatable:
                raise errors.PoolUnreachable from None
            raise errors.PoolOutcomeUnknown from None


class _Outgoing(requests.auth.AuthBase):
    """Signs a request, and knows whether it may have begun to go out.

    It is set as `auth`, or requests would take credentials for the host from a .netrc file instead.
    No code can run before its first byte is sent: that says more than the exception's type, since a failed
    handshake and a connection lost in the middle can look the same.
    """

    def __init__(self, token: str) -> None:
        self.begun = False
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        if traceparent := telemetry.traceparent():
            request.headers["traceparent"] = traceparent
        if isinstance(request.body, bytes):
            request.body = _Body(request.body, self)  # type: ignore[assignment]  # anything sized and iterable will do
        else:
            # Without a body nothing tells.
            self.begun = True
        return request


class _Body:
    def __init__(self, content: bytes, outgoing: _Outgoing) -> None:
        self._content = content
        self._outgoing = outgoing

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        self._outgoing.begun = True
        yield self._content


def refused_in_time(reply: Reply) -> bool:
    """Whether a refusal says that the work was not begun: 429, and 503 that names a time to come back.

    No document says so of the 503; that such an answer comes before the work is an assumption.
    """
    return reply.status_code == 429 or (reply.status_code == 503 and retry.retry_after(reply.headers) is not None)


def _is_full(reply: Reply) -> bool:
    # The contract has another status for it, too.
    refused = reply.status_code >= 400
    return refused and isinstance(
        session_wire.decode_error(reply.status_code, reply.headers, reply.body), errors.PoolFull
    )


def _may_repeat(reply: Reply, repeatable: bool) -> bool:
    return refused_in_time(reply) or (repeatable and reply.status_code in (500, 502, 503, 504))


def _read(response: requests.Response, end: Deadline, limit_bytes: int) -> bytes:
    too_long = errors.PoolLimitExceeded(f"The session pool's reply is longer than {limit_bytes} bytes.")
    if (response.raw.length_remaining or 0) > limit_bytes:
        raise too_long
    body = bytearray()
    # Header lines that drip in are each bounded by the time of one read only: until they are complete,
    # nothing here can reach the connection.
    with end.interrupting(response.raw.shutdown):
        for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > limit_bytes:
                raise too_long
            if end.remaining() <= 0:
                break
    # A body without a length ends where the connection was shut.
    if end.remaining() <= 0:
        raise requests.ReadTimeout
    return bytes(body)
