"""The addresses of a run: where this app is reached, and the token that opens one run and nothing else.

A token is an HMAC over the run's id with a secret that the store keeps. So it needs no place of its own: a repeated
request gets the same address again, and a wrong token is refused before anything is read, which makes a wrong token and
an unknown run alike, in their time too.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import environ

from shared.errors import SettingError
from shared.settings import Settings

ROUTE_PREFIX = "api"
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class RunLinks:
    """Addresses of runs.

    Args:
        base: of the app, such as `https://app.azurewebsites.net`.
        secret: of the store, for the tokens.
    """

    base: str
    secret: bytes = field(repr=False)

    def token(self, run_id: str) -> str:
        """The run's own token: 256 bits, fit for a URL."""
        digest = hmac.digest(self.secret, f"run:{run_id}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    def opens(self, token: str, run_id: str) -> bool:
        """Whether it is this run's token; takes the same time for any token."""
        return hmac.compare_digest(self.token(run_id).encode(), token.encode("utf-8", "replace"))

    def status_url(self, run_id: str) -> str:
        """Where the run is followed; holds its token."""
        return f"{run_address(self.base, run_id)}?token={self.token(run_id)}"

    def cancel_url(self, run_id: str) -> str:
        """Where the run is cancelled; holds its token."""
        return f"{run_address(self.base, run_id)}/cancel?token={self.token(run_id)}"


def run_address(base: str, run_id: str) -> str:
    """The run's address without its token: for callers whom App Service names."""
    return f"{base}/{ROUTE_PREFIX}/runs/{run_id}"


def base_url(headers: Mapping[str, str], settings: Settings) -> str:
    """Where this app is reached, without a slash at the end.

    It never follows a header, because addresses carry tokens and anybody can name another host in `Host` or
    `X-Forwarded-Host`: `PUBLIC_URL` counts, else the name that Azure gave the app. Loopback is the exception, where
    the name leads nowhere else: the local hosts' own port is known from `Host` alone.

    Args:
        headers: of the request, names in lower case.
        settings: with PUBLIC_URL.

    Raises:
        SettingError: nothing that can be trusted says where the app is.
    """
    if settings.public_url:
        return _public(settings.public_url)
    # App Service and Functions set it, and so does Core Tools on a developer's machine.
    hostname = environ.get("WEBSITE_HOSTNAME", "")
    if hostname and not _LOOPBACK.fullmatch(hostname):
        return f"https://{hostname}"
    for host in (headers.get("host", ""), hostname):
        if _LOOPBACK.fullmatch(host):
            return f"http://{host}"
    raise SettingError("PUBLIC_URL", "PUBLIC_URL is not set, and Azure does not say by which name this app is reached.")


def _public(url: str) -> str:
    form = re.fullmatch(r"(https?)://([A-Za-z0-9.:\[\]-]+)(/[A-Za-z0-9._~/-]*)?", url)
    # A token that travels unencrypted is anybody's.
    if not form or (form[1] == "http" and not _LOOPBACK.fullmatch(form[2])):
        raise SettingError("PUBLIC_URL", "PUBLIC_URL is not an address like https://agents.example.com.")
    return url.rstrip("/")
