"""One HTTP request as Logic Apps sends it: which headers it adds and removes, how long it waits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests

from tests.logic_apps.expressions import NotPlayed, as_text

# Author's headers that never leave (connectors-native-http.md), by name or by beginning.
_REMOVED = frozenset(
    ["allow", "cookie", "expires", "host", "last-modified", "origin", "set-cookie", "transfer-encoding", "accept"]
)
_CONTENT_KEPT = frozenset(["content-disposition", "content-encoding", "content-type"])


class NoAnswer(Exception):
    """The connection failed, or the time for one request was over."""


@dataclass(frozen=True)
class Sent:
    """A request; `body` as it goes over the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A reply; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> Any:
        """JSON where the reply says so, else text: what `body('X')` gives."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip()
        text = self.body.decode("utf-8", "replace")
        return json.loads(text) if kind == "application/json" or kind.endswith("+json") else text


Transport = Callable[[Sent, float], Answer]


def over_http(request: Sent, timeout_seconds: float) -> Answer:
    """Sends a request over real HTTP, without following redirects.

    Raises:
        NoAnswer: no complete reply within the time.
    """
    with requests.Session() as session:
        # Logic Apps knows neither the machine's proxies nor the library's own headers.
        session.trust_env = False
        session.headers.clear()
        try:
            reply = session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body,
                timeout=timeout_seconds,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from error
    return Answer(reply.status_code, {name.lower(): value for name, value in reply.headers.items()}, reply.content)


@dataclass(frozen=True)
class Identity:
    """Who calls: what the workflow's headers say of an action.

    Attributes:
        workflow: its name.
        run: name of the workflow run.
        action: the action's name.
        action_tracking: one GUID for an execution of the action, its retries and polls.
    """

    workflow: str
    run: str
    action: str
    action_tracking: str

    def headers(self, attempt_tracking: str) -> dict[str, str]:
        """The headers that the engine adds; `attempt_tracking` is new with every attempt."""
        return {
            "User-Agent": f"azure-logic-apps/1.0,(workflow {self.workflow}; version 08584000000000000000)",
            "Accept-Language": "en",
            "x-ms-execution-location": "westeurope",
            "x-ms-workflow-id": self.workflow,
            "x-ms-workflow-version": "08584000000000000000",
            "x-ms-workflow-name": self.workflow,
            "x-ms-workflow-system-id": f"/locations/westeurope/scaleunits/prod-00/workflows/{self.workflow}",
            "x-ms-workflow-run-id": self.run,
            "x-ms-workflow-run-tracking-id": self.run,
            "x-ms-workflow-operation-name": self.action,
            "x-ms-workflow-subscription-id": "00000000-0000-0000-0000-000000000000",
            "x-ms-workflow-resourcegroup-name": "workflows",
            "x-ms-workflow-subscription-capacity": "Large",
            "x-ms-tracking-id": attempt_tracking,
            "x-ms-correlation-id": attempt_tracking,
            "x-ms-client-request-id": attempt_tracking,
            "x-ms-client-tracking-id": self.run,
            "x-ms-action-tracking-id": self.action_tracking,
        }


def prepared(inputs: Mapping[str, Any], authorization: Mapping[str, str]) -> Sent:
    """The first request of an action, before the engine adds its own headers.

    Args:
        inputs: of the action, without expressions.
        authorization: what the action's `authentication` makes of a request.

    Raises:
        NotPlayed: a header or a URL that no Logic App would send.
    """
    own = {name: as_text(value) for name, value in (inputs.get("headers") or {}).items()}
    kept = {name: value for name, value in own.items() if not removed(name)}
    body = inputs.get("body")
    if body is None:
        content = b""
    elif isinstance(body, str):
        content = body.encode()
    else:
        content = json.dumps(body, ensure_ascii=False).encode()
        if not any(name.lower() == "content-type" for name in kept):
            kept["Content-Type"] = "application/json; charset=utf-8"
    url = str(inputs["uri"])
    if not re.match(r"https?://", url):
        raise NotPlayed(f"the address {url!r}, which is not absolute")
    if inputs.get("queries"):
        url += ("&" if "?" in url else "?") + urlencode(inputs["queries"])
    return Sent(str(inputs["method"]), url, {**kept, **authorization}, content)


def removed(header: str) -> bool:
    """Whether Logic Apps takes a header out that the author of a definition has put in."""
    name = header.lower()
    if name.startswith("content-"):
        return name not in _CONTENT_KEPT
    return name in _REMOVED or name.startswith("accept-")
