"""The HTTP action: retries, the asynchronous pattern and its limits (reference: Logic Apps' limits and policies)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.logic_apps.clock import Clock
from tests.logic_apps.definition import seconds
from tests.logic_apps.expressions import NotPlayed
from tests.logic_apps.wire import Answer, Identity, NoAnswer, Sent, Transport, prepared

# One request may take that long: limits of the HTTP action by edition.
REQUEST_SECONDS = {"Consumption": 120.0, "Standard": 225.0}
POLL_SECONDS = 20.0
SHORTEST_WAIT, LONGEST_WAIT = 5.0, 45.0
Tokens = Callable[[str], str]


class TimedOut(Exception):
    """The action's own limit has passed."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a request that failed is sent again.

    Attributes:
        count: how often, after the first time.
        interval: seconds; doubled with every retry where it is exponential.
        exponential: whether the waits grow, and are drawn between two bounds.
    """

    count: int = 4
    interval: float = 7.5
    exponential: bool = True

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> RetryPolicy:
        """The policy that a definition gives, or the default one.

        Raises:
            NotPlayed: it has another type, or fields that belong to none.
        """
        if given is None:
            return cls()
        kind = given.get("type")
        if kind == "none" and set(given) == {"type"}:
            return cls(count=0)
        if kind in ("fixed", "exponential") and set(given) == {"type", "count", "interval"}:
            return cls(int(given["count"]), seconds(given["interval"]), kind == "exponential")
        raise NotPlayed(f"the retry policy {dict(given)}")

    def wait(self, retry: int, draw: random.Random) -> float:
        """Seconds before a retry, counted from 1."""
        if not self.exponential:
            return self.interval
        least = self.interval * 2 ** (retry - 2) if retry > 1 else 0.0
        drawn = draw.uniform(least, self.interval * 2 ** (retry - 1))
        return min(max(drawn, SHORTEST_WAIT), LONGEST_WAIT)


@dataclass(frozen=True)
class Exchange:
    """One attempt of a request and what came of it; `status` is 0 where nothing came."""

    action: str
    request: Sent
    status: int


class HttpCalls:
    """Sends the requests of one workflow run.

    Args:
        edition: Consumption or Standard.
        clock: for waits and limits.
        transport: sends one request.
        tokens: a managed identity's token for an audience.
        seed: of the waits that are drawn.
        stopped: whether the workflow run was cancelled.
    """

    def __init__(
        self,
        edition: str,
        clock: Clock,
        transport: Transport,
        tokens: Tokens,
        seed: int,
        stopped: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._tokens = tokens
        self._draw = random.Random(seed)  # noqa: S311  # waits, not secrets
        self._request_seconds = REQUEST_SECONDS[edition]
        self._stopped = stopped
        self.exchanges: list[Exchange] = []

    def deadline(self, action: Mapping[str, Any]) -> float:
        """When an action's own limit passes, on the clock."""
        limit = action.get("limit")
        return self._clock.now() + seconds(limit["timeout"]) if limit else float("inf")

    def call(
        self, identity: Identity, inputs: Mapping[str, Any], *, deadline: float, asynchronous: bool
    ) -> Answer | None:
        """Sends an action's request and follows the asynchronous pattern.

        Args:
            identity: whose request it is.
            inputs: of the action, without expressions.
            deadline: see `deadline()`.
            asynchronous: whether a 202 with a Location is polled.

        Returns:
            The last reply; None where the service never answered.

        Raises:
            TimedOut: the deadline has passed.
        """
        policy = RetryPolicy.of(inputs.get("retryPolicy"))
        authorization = self._authorization(inputs.get("authentication"))
        first = prepared(inputs, authorization)
        answer = self._tried(identity, first, policy, deadline)
        while asynchronous and answer is not None and answer.status == 202 and "location" in answer.headers:
            self._wait(float(answer.headers.get("retry-after", POLL_SECONDS)), deadline)
            if self._stopped():
                return None
            # The authentication object signs polls too; the author's headers are not known to be sent again.
            poll = prepared({"method": "GET", "uri": answer.headers["location"]}, authorization)
            answer = self._tried(identity, poll, policy, deadline)
        return answer

    def _tried(self, identity: Identity, request: Sent, policy: RetryPolicy, deadline: float) -> Answer | None:
        for retry in range(policy.count + 1):
            if retry:
                self._wait(policy.wait(retry, self._draw), deadline)
            answer = self._once(identity, request)
            if answer is not None and not _retried(answer.status):
                return answer
        return answer

    def _once(self, identity: Identity, request: Sent) -> Answer | None:
        headers = {**request.headers, **identity.headers(str(uuid.uuid4()))}
        sent = Sent(request.method, request.url, headers, request.body)
        try:
            answer = self._transport(sent, self._clock.allowance(self._request_seconds))
        except NoAnswer:
            self.exchanges.append(Exchange(identity.action, sent, 0))
            return None
        self.exchanges.append(Exchange(identity.action, sent, answer.status))
        return answer

    def _wait(self, wait_seconds: float, deadline: float) -> None:
        if self._clock.now() + wait_seconds >= deadline:
            raise TimedOut
        self._clock.sleep(wait_seconds)

    def _authorization(self, given: Mapping[str, Any] | None) -> dict[str, str]:
        if given is None:
            return {}
        if given.get("type") != "ManagedServiceIdentity" or not set(given) <= {"type", "audience", "identity"}:
            raise NotPlayed(f"the authentication {dict(given)}")
        return {"Authorization": f"Bearer {self._tokens(str(given['audience']))}"}


def _retried(status: int) -> bool:
    return status in (408, 429) or status >= 500
