"""How a request reaches a session pool: token, deadline, and another attempt where that is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3

from shared import VERSION, errors, session_wire
from shared.deadline import Deadline
from shared.identity import BearerTokens

USER_AGENT = f"autogen-aca-sessions/{VERSION} (Language=Python)"
CONNECT_SECONDS = 5.0
REPLY_BYTES_MAX = 140_000_000
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Reply:
    """An HTTP reply, read to its end. `headers` is case-insensitive."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


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
        """Sends a request, up to four times where an attempt cannot have run code.

        Args:
            method: HTTP method.
            url: absolute.
            deadline: bounds all attempts and pauses together.
            seconds: bounds each attempt.
            repeatable: whether doing it twice is harmless. If not, only refusals that come before the
                work are tried again: no connection, 429, and 503 with Retry-After.
            limit_bytes: most bytes of the reply.
            options: as for `requests.request`.

        Returns:
            The last reply, whatever its status.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolUnreachable: no attempt got a connection.
            PoolOutcomeUnknown: the last attempt got no answer.
            PoolLimitExceeded: the reply is longer than `limit_bytes`.
        """
        failure: errors.PoolError | None = None
        reply: Reply | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                pause = _pause(attempt, reply)
                if pause >= deadline.remaining():
                    break
                self._sleep(pause)
            failure, reply = None, None
            try:
                reply = self._tokens.send(
                    lambda token: self._once(method, url, token, deadline, seconds, limit_bytes, options)
                )
            except errors.PoolUnreachable as error:
                failure = error
            except errors.PoolOutcomeUnknown as error:
                deadline.check()
                failure = error
            if not _may_repeat(failure or reply, repeatable):
                break
        if reply is not None:
            return reply
        raise failure or AssertionError("an attempt ends in a reply or a failure")

    def _once(
        self,
        method: str,
        url: str,
        token: str,
        deadline: Deadline,
        seconds: float,
        limit_bytes: int,
        options: Mapping[str, Any],
    ) -> Reply:
        limit = deadline.clamp(seconds)
        try:
            with self._http.request(
                method,
                url,
                auth=_Bearer(token),
                timeout=(min(CONNECT_SECONDS, limit), limit),
                allow_redirects=False,
                stream=True,
                **options,
            ) as response:
                return Reply(response.status_code, response.headers, _read(response, limit, deadline, limit_bytes))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # The exception's own text holds the URL, hence `from None`.
            if _never_sent(error):
                raise errors.PoolUnreachable from None
            raise errors.PoolOutcomeUnknown from None


class _Bearer(requests.auth.AuthBase):
    # Set as `auth`, or requests would take credentials for the host from a .netrc file instead.
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _pause(attempt: int, reply: Reply | None) -> float:
    told = session_wire.retry_after(reply.headers) if reply else None
    return told if told is not None else FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)


def _may_repeat(outcome: Reply | errors.PoolError | None, repeatable: bool) -> bool:
    if isinstance(outcome, Reply):
        status = outcome.status_code
        told_when = session_wire.retry_after(outcome.headers) is not None
        return status == 429 or (status == 503 and told_when) or (repeatable and status in (500, 502, 503, 504))
    return repeatable or isinstance(outcome, errors.PoolUnreachable)


def _never_sent(error: Exception) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(cause, urllib3.exceptions.NewConnectionError)


def _read(response: requests.Response, seconds: float, deadline: Deadline, limit_bytes: int) -> bytes:
    end = deadline.clock() + seconds
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > limit_bytes:
            raise errors.PoolLimitExceeded(f"The session pool's reply is longer than {limit_bytes} bytes.")
        if deadline.clock() > end:
            raise errors.PoolOutcomeUnknown
    return bytes(body)
