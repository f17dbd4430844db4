"""Who may call the pool: bearers of a token that the identity endpoint has signed for it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt

from local.session_pool.errors import Refusal

KEY_SECONDS = 5.0
# An unknown key id makes us look for new keys, but not at every request.
REFRESH_PAUSE_SECONDS = 2.0

_log = logging.getLogger(__name__)


KeySet = Callable[[], Awaitable[dict[str, Any]]]


def keys_at(url: str) -> KeySet:
    """The JSON Web Key Set (RFC 7517) of another process.

    Args:
        url: where it is; fetched when a token names a key that is not known.
    """

    async def fetch() -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=KEY_SECONDS, trust_env=False) as client:
            body: dict[str, Any] = (await client.get(url)).json()
            return body

    return fetch


class TokenCheck:
    """Verifies signature, audience and expiry.

    Args:
        key_set: gives the public keys.
        audiences: whom tokens may be for; a trailing slash makes no difference.
        clock: seconds since the epoch, for the age of a token.
    """

    def __init__(self, key_set: KeySet, *audiences: str, clock: Callable[[], float] = time.time) -> None:
        self._key_set = key_set
        self._clock = clock
        self._audiences = [audience.rstrip("/") + end for audience in audiences for end in ("", "/")]
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()

    async def check(self, authorization: str, *, life_seconds: float = math.inf) -> None:
        """Passes or refuses an Authorization header.

        Args:
            authorization: the header's value.
            life_seconds: an older token counts as expired.

        Raises:
            Refusal: 401 without a body, as the service answers.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(401)
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid", ""))
            claims = jwt.decode(
                token, key.key, algorithms=["RS256"], audience=self._audiences, options={"require": ["exp"]}
            )
        except (jwt.PyJWTError, KeyError):
            raise Refusal(401) from None
        if life_seconds < math.inf and self._clock() - claims.get("iat", 0) > life_seconds:
            raise Refusal(401)

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._lock:
            if key_id not in self._keys and time.monotonic() - self._fetched_at > REFRESH_PAUSE_SECONDS:
                self._fetched_at = time.monotonic()
                try:
                    body = await self._key_set()
                    self._keys = {key["kid"]: jwt.PyJWK(key) for key in body["keys"]}
                except (httpx.HTTPError, ValueError, TypeError) as error:
                    _log.error("No keys from the identity endpoint: %s", type(error).__name__)
                    raise Refusal(401) from None
            return self._keys[key_id]
