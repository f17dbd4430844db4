"""Who the app is: one credential per process and one policy for bearer tokens.

The policy serves the session pool and the model alike: a token is renewed five minutes before it
expires, dropped when a service answers 401, and the request is then tried once more with a new one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from shared.deadline import Deadline
from shared.errors import DeadlineReached, IdentityError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

POOL_SCOPE = "https://dynamicsessions.io/.default"
MODEL_SCOPE = "https://cognitiveservices.azure.com/.default"
RENEW_SECONDS_EARLY = 300
# Long enough for all who wait for one token to share a failure, short enough to notice that it is mended.
FAILURE_SECONDS = 5
# azure-core waits 300 s by default, longer than any chat may last.
CONNECTION_SECONDS, READ_SECONDS = 5, 15


def is_web_address(url: str) -> bool:
    """Whether it is an http or https URL with a host."""
    return _web_parts(url) is not None


def is_safe_address(url: str) -> bool:
    """Whether a token or key may be sent there: https, or http on this machine."""
    parts = _web_parts(url)
    return parts is not None and (parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost"))


def _web_parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        return None
    return parts if good else None


class _HasStatus(Protocol):
    @property
    def status_code(self) -> int: ...


AnyReply = TypeVar("AnyReply", bound=_HasStatus)


class BearerTokens:
    """Tokens for one scope, safe to use from many threads.

    The credential is asked in a thread of its own: nobody waits for it beyond a deadline, nobody waits at all
    while the token held is valid, and all who wait share one answer.

    Args:
        scope: what the tokens are for, such as `POOL_SCOPE`.
        credential: any azure-identity credential; None for the process's own.
        client_id: of a user-assigned identity, for the process's own credential.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        scope: str,
        *,
        credential: TokenCredential | None = None,
        client_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scope = scope
        self._own_credential = credential
        self._client_id = client_id
        self._clock = clock
        # Held for moments, never while the credential is asked.
        self._lock = threading.Lock()
        self._token: AccessToken | None = None
        # The one under way, or the one that has just failed.
        self._fetch: Future[AccessToken] | None = None
        self._failed_at = 0.0

    def token(self, deadline: Deadline) -> str:
        """A valid token; in its last five minutes the next one is fetched meanwhile.

        Args:
            deadline: bounds the wait for the credential.

        Raises:
            DeadlineReached: the credential has not answered by then.
            IdentityError: the credential gives no token, or has given none a moment ago.
        """
        with self._lock:
            held, now = self._token, self._clock()
            if held is not None and held.expires_on - now > RENEW_SECONDS_EARLY:
                return held.token
            fetch = self._current_fetch(now)
        if held is not None and held.expires_on > now:
            return held.token
        if not wait([fetch], deadline.remaining()).done:
            raise DeadlineReached
        return fetch.result().token

    def drop(self, token: str) -> None:
        """Forgets `token`, so that the next one is new. Another thread's newer token stays."""
        with self._lock:
            if self._token is not None and self._token.token == token:
                self._token = None
                # The credential has a cache of its own that would hand out the refused token again.
                if self._own_credential is None:
                    process_credential.cache_clear()

    def send(self, request: Callable[[str], AnyReply], deadline: Deadline) -> AnyReply:
        """Sends a request with a token, and once more with a new token if the answer is 401.

        Args:
            request: sends the request with the token it is given and returns the reply.
            deadline: bounds the waits for tokens; the request has to keep to it by itself.

        Raises:
            DeadlineReached: the credential has not answered by then.
            IdentityError: the credential gives no token.
        """
        token = self.token(deadline)
        reply = request(token)
        if reply.status_code != 401:
            return reply
        self.drop(token)
        return request(self.token(deadline))

    def _current_fetch(self, now: float) -> Future[AccessToken]:
        fetch = self._fetch
        if fetch is None or (fetch.done() and now - self._failed_at >= FAILURE_SECONDS):
            self._fetch = fetch = Future()
            threading.Thread(target=self._fill, args=(fetch,), name="identity-token", daemon=True).start()
        return fetch

    def _fill(self, fetch: Future[AccessToken]) -> None:
        try:
            token = self._ask()
        except IdentityError as error:
            with self._lock:
                self._failed_at = self._clock()
            fetch.set_exception(error)
        else:
            with self._lock:
                self._token, self._fetch = token, None
            fetch.set_result(token)

    def _ask(self) -> AccessToken:
        try:
            credential = self._own_credential or process_credential(self._client_id)
            return credential.get_token(self._scope)
        except Exception as error:  # AttributeError for an odd answer, for instance
            # The words of the credential chain name hosts and accounts: the type is enough for callers.
            raise IdentityError(f"No token could be had ({type(error).__name__}).") from error


@lru_cache(maxsize=8)
def process_credential(client_id: str) -> TokenCredential:
    """The process's credential: the managed identity where there is one, else the developer's sign-in.

    Args:
        client_id: of a user-assigned identity; empty for the system-assigned one.
    """
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    bounds: dict[str, Any] = {"connection_timeout": CONNECTION_SECONDS, "read_timeout": READ_SECONDS, "retry_total": 1}
    # App Service gives every app with an identity this variable.
    if "IDENTITY_ENDPOINT" in os.environ:
        return ManagedIdentityCredential(client_id=client_id or None, **bounds)
    if client_id:
        return DefaultAzureCredential(managed_identity_client_id=client_id, **bounds)
    return DefaultAzureCredential(**bounds)


@lru_cache(maxsize=16)
def process_tokens(scope: str, client_id: str = "") -> BearerTokens:
    """The process's tokens for `scope`, from the process's credential."""
    return BearerTokens(scope, client_id=client_id)
