"""Who the app is: one credential per process and one policy for bearer tokens.

The policy serves the session pool and the model alike: a token is renewed five minutes before it
expires, dropped when a service answers 401, and the request is then tried once more with a new one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from shared.errors import IdentityError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

POOL_SCOPE = "https://dynamicsessions.io/.default"
MODEL_SCOPE = "https://cognitiveservices.azure.com/.default"
RENEW_SECONDS_EARLY = 300
# azure-core waits 300 s by default, longer than any chat may last.
CONNECTION_SECONDS, READ_SECONDS = 5, 15


def is_safe_address(url: str) -> bool:
    """Whether a token may be sent there: https, or http on this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
    )


class _HasStatus(Protocol):
    @property
    def status_code(self) -> int: ...


Reply = TypeVar("Reply", bound=_HasStatus)


class BearerTokens:
    """Tokens for one scope, safe to use from many threads.

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
        self._lock = threading.Lock()
        self._token: AccessToken | None = None

    def token(self) -> str:
        """A token that is valid for five minutes more, or, where none can be had, one still valid.

        Raises:
            IdentityError: the credential gives no token.
        """
        with self._lock:
            held, now = self._token, self._clock()
            if held is not None and held.expires_on - now > RENEW_SECONDS_EARLY:
                return held.token
            try:
                self._token = self._fetch()
            except IdentityError:
                if held is None or held.expires_on <= now:
                    raise
                return held.token
            return self._token.token

    def drop(self, token: str) -> None:
        """Forgets `token`, so that the next one is new. Another thread's newer token stays."""
        with self._lock:
            if self._token is not None and self._token.token == token:
                self._token = None
                # The credential has a cache of its own that would hand out the refused token again.
                if self._own_credential is None:
                    process_credential.cache_clear()

    def send(self, request: Callable[[str], Reply]) -> Reply:
        """Sends a request with a token, and once more with a new token if the answer is 401.

        Args:
            request: sends the request with the token it is given and returns the reply.

        Raises:
            IdentityError: the credential gives no token.
        """
        token = self.token()
        reply = request(token)
        if reply.status_code != 401:
            return reply
        self.drop(token)
        return request(self.token())

    def _fetch(self) -> AccessToken:
        from azure.core.exceptions import AzureError

        credential = self._own_credential or process_credential(self._client_id)
        try:
            return credential.get_token(self._scope)
        except (AzureError, ValueError) as error:
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
