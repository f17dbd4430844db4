"""App Service's managed-identity endpoint on this machine: signs real tokens that the local services verify.

The protocol is App Service's (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, api-version 2019-08-01), so the unmodified
azure-identity library gets its tokens here exactly as it does in Azure. The signing key is made at start and
never leaves the process; its public half is served as a JSON Web Key Set.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from local import serve

ISSUER = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"
# autogen-ext's executor never renews its token; a working day covers a session at the desk.
DEFAULT_LIFETIME_SECONDS = 86_400
RESOURCE_LENGTH_MAX = 1000


class Identity:
    """The identity of this machine's function app and its signing key.

    Args:
        header: the secret that callers have to send as X-IDENTITY-HEADER.
        lifetime_seconds: of each token.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        header: str,
        lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._header = header
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = uuid.uuid4().hex
        self._object_id = str(uuid.uuid4())

    def knows(self, header: str) -> bool:
        """Whether a caller has the secret."""
        return hmac.compare_digest(header.encode(), self._header.encode())

    def token(self, resource: str) -> tuple[str, int]:
        """A signed token for a resource, and when it expires in seconds since the epoch."""
        now = int(self._clock())
        expires = now + self._lifetime_seconds
        claims = {
            "aud": resource,
            "iss": ISSUER,
            "iat": now,
            "nbf": now - 60,
            "exp": expires,
            "oid": self._object_id,
            "tid": "00000000-0000-0000-0000-000000000000",
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id}), expires

    def key_set(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        key: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": self._key_id, "use": "sig", "alg": "RS256"}]}


def create_app(identity: Identity) -> Starlette:
    """The endpoint as an ASGI app: `/msi/token` and `/.well-known/jwks.json`."""

    async def token(request: Request) -> JSONResponse:
        if not identity.knows(request.headers.get("x-identity-header", "")):
            return _refusal(401, "X-IDENTITY-HEADER is missing or wrong.")
        resource = request.query_params.get("resource", "")
        if request.query_params.get("api-version") != "2019-08-01":
            return _refusal(400, "api-version has to be 2019-08-01.")
        if not 0 < len(resource) <= RESOURCE_LENGTH_MAX:
            return _refusal(400, "resource is missing or too long.")
        access_token, expires = identity.token(resource)
        return JSONResponse(
            {
                "access_token": access_token,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": request.query_params.get("client_id", ""),
            },
            headers={"Cache-Control": "no-store"},
        )

    async def keys(request: Request) -> JSONResponse:
        return JSONResponse(identity.key_set())

    return Starlette(routes=[Route("/msi/token", token), Route("/.well-known/jwks.json", keys)])


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status)


def main() -> None:
    """Runs the endpoint; see `python -m local.identity --help`."""
    parser = serve.argument_parser("App Service's managed-identity endpoint on this machine.")
    parser.add_argument("--header", default="", help="the secret X-IDENTITY-HEADER; random by default")
    parser.add_argument(
        "--lifetime", type=int, default=DEFAULT_LIFETIME_SECONDS, help="of each token, in seconds (default: one day)"
    )
    options = parser.parse_args()
    header = options.header or secrets.token_hex(16)
    app = create_app(Identity(header, options.lifetime))

    def announce(url: str) -> dict[str, object]:
        return {
            "env": {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": header},
            "jwks_url": f"{url}/.well-known/jwks.json",
        }

    serve.run(app, port=options.port, with_parent=options.with_parent, announce=announce)


if __name__ == "__main__":
    main()
