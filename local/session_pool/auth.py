"""Who may call the pool: bearers of a token that the identity endpoint has signed for it."""

from __future__ import annotations

import asyncio
import logging
import time

import httpx
import jwt

from local.session_pool.errors import Refusal

KEY_SECONDS = 5.0
# An unknown key id makes us look for new keys, but not at every request.
REFRESH_PAUSE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class TokenCheck:
    """Verifies signature, audience and expiry.

    Args:
        jwks_url: where the public keys are.
        audience: whom tokens have to be for; a trailing slash makes no difference.
    """

    def __init__(self, jwks_url: str, audience: str) -> None:
        self._url = jwks_url
        self._audience = [audience.rstrip("/"), audience.rstrip("/") + "/"]
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()

    async def check(self, authorization: str) -> None:
        """Passes or refuses an Authorization header.

        Raises:
            Refusal: 401 without a body, as the service answers.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(401)
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid", ""))
            jwt.decode(token, key.key, algorithms=["RS256"], audience=self._audience, options={"require": ["exp"]})
        except (jwt.PyJWTError, KeyError):
            raise Refusal(401) from None

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._lock:
            if key_id not in self._keys and time.monotonic() - self._fetched_at > REFRESH_PAUSE_SECONDS:
                self._fetched_at = time.monotonic()
                async with httpx.AsyncClient(timeout=KEY_SECONDS, trust_env=False) as client:
                    try:
                        body = (await client.get(self._url)).json()
                        self._keys = {key["kid"]: jwt.PyJWK(key) for key in body["keys"]}
                    except (httpx.HTTPError, ValueError, TypeError) as error:
                        _log.error("No keys from the identity endpoint: %s", type(error).__name__)
                        raise Refusal(401) from None
            return self._keys[key_id]
