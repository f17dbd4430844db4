"""Which callers the host answers: programs on this machine, and web pages that were named.

A web page that the developer visits can send requests to loopback too, and without keys the app would run what
they ask for. Browsers say which page a request comes from; a page that points a name of its own at loopback
shows in the Host header.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OTHER_SITES = ("cross-site", "same-site")
REFUSAL = (
    "Refused: this comes from a web page, or is addressed to another name than localhost. Name a page's origin with "
    "--cors, or as Host.CORS in local.settings.json, to let it call.\n"
)


def may_call(scheme: str, headers: Mapping[str, str], cors: Collection[str]) -> bool:
    """Whether to answer a request.

    Args:
        scheme: the one it came by, http or https.
        headers: the request's, with names in lower case.
        cors: the origins of pages that may call; `*` for all.
    """
    host = headers.get("host", "")
    if _name(host) not in _LOOPBACK:
        return False
    origin = headers.get("origin")
    if "*" in cors or origin in cors:
        return True
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        return False
    return headers.get("sec-fetch-site", "").lower() not in _OTHER_SITES


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
