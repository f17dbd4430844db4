"""Faults on request: what a client meets on a bad day, by rate, by count, by session.

Rules come from the command line or, while the emulator runs, over its control endpoint (`/.local/faults`), which is
not part of the service. The first rule that fits a request and is not used up is applied.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from local.session_pool.errors import Refusal
from local.session_pool.wire import Operation

RULES_MAX = 100
SECONDS_MAX = 3600.0
LATENCY, STATUS, DROP, SLOW_BODY, CUT_BODY, BROKEN_BODY, SESSION_LOSS, TOKEN_LIFE = KINDS = (
    "latency",
    "status",
    "drop",
    "slow_body",
    "cut_body",
    "broken_body",
    "session_loss",
    "token_life",
)
_SENTENCES = {
    403: ("Forbidden", "The caller has no role that allows this."),
    404: ("NotFound", "The session pool was not found."),
    429: ("SessionsCountExceedsLimit", "The maximum of active sessions is reached."),
}
_OPERATIONS = frozenset(operation.name.lower() for operation in Operation)


@dataclass
class Fault:
    """One rule.

    Attributes:
        kind: `latency` and `token_life` (both by `seconds`), `status`, `drop` (the connection, instead of a reply),
            `slow_body` (takes `seconds`), `cut_body` (ends in the middle), `broken_body` (no valid JSON),
            `session_loss` (the session is gone before the request).
        status: of the reply, for `status`.
        retry_after: in seconds, for `status`.
        seconds: how long.
        after: for `drop`: the work is done, and its reply is lost.
        rate: the part of the fitting requests that it meets, 0 to 1.
        count: how many requests it meets at the most; None for all.
        session: only requests for this identifier.
        operation: only this operation, such as `execute` or `upload`.
    """

    kind: str
    status: int = 500
    retry_after: int | None = None
    seconds: float = 1.0
    after: bool = False
    rate: float = 1.0
    count: int | None = None
    session: str | None = None
    operation: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind has to be one of {', '.join(KINDS)}")
        if self.operation is not None and self.operation not in _OPERATIONS:
            raise ValueError(f"operation has to be one of {', '.join(sorted(_OPERATIONS))}")
        if not 400 <= self.status <= 599:
            raise ValueError("status has to be 400 to 599")
        if not (math.isfinite(self.seconds) and 0 <= self.seconds <= SECONDS_MAX):
            raise ValueError(f"seconds has to be 0 to {SECONDS_MAX:g}")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate has to be 0 to 1")
        if self.kind == TOKEN_LIFE and (self.rate, self.count, self.session, self.operation) != (1, None, None, None):
            raise ValueError("token_life is for all requests: it has seconds only")
        if min(self.count or 0, self.retry_after or 0) < 0:
            raise ValueError("count and retry_after have to be 0 or more")

    def fits(self, operation: Operation | None, session: str) -> bool:
        """Whether it is meant for such a request; `operation` None is one before it is known which."""
        if self.count is not None and self.count <= 0:
            return False
        known = operation.name.lower() if operation else None
        return self.session in (None, session) and self.operation in (None, known)

    def refusal(self) -> Refusal:
        """What a rule of kind `status` answers, in the form that the service uses for that status."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            return Refusal(401, headers=headers)
        code, sentence = _SENTENCES.get(self.status, ("InternalServerError", "The service failed."))
        return Refusal(self.status, code, sentence, flat=self.status == 429, headers=headers)


class Faults:
    """The rules in force.

    Args:
        rules: the first ones.
        seed: of the dice that rates are thrown with.
    """

    def __init__(self, rules: Sequence[Fault] = (), seed: int = 0) -> None:
        self._rules = list(rules)
        self._dice = random.Random(seed)  # noqa: S311  # not for secrets

    def take(self, operation: Operation | None, session: str) -> Fault | None:
        """The rule that meets a request, counted as used."""
        for rule in self._rules:
            if rule.kind != TOKEN_LIFE and rule.fits(operation, session) and self._dice.random() < rule.rate:
                if rule.count is not None:
                    rule.count -= 1
                return rule
        return None

    def token_life(self) -> float:
        """After how many seconds a token counts as expired; infinite without such a rule."""
        return min((rule.seconds for rule in self._rules if rule.kind == TOKEN_LIFE), default=math.inf)

    def add(self, rules: Sequence[Fault]) -> None:
        """Adds rules behind those in force.

        Raises:
            ValueError: they are too many.
        """
        if len(self._rules) + len(rules) > RULES_MAX:
            raise ValueError(f"there may be {RULES_MAX} rules at most")
        self._rules += rules

    def clear(self) -> None:
        """Ends all rules."""
        self._rules.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The rules in force, with what is left of their counts."""
        return [{name: value for name, value in asdict(rule).items() if value is not None} for rule in self._rules]


def parse_rule(text: str) -> Fault:
    """A rule as the command line has it: `status=503,retry_after=1,count=2`, or `drop,operation=execute`.

    A word without `=` is the kind; `status=...` alone says the kind too.

    Raises:
        ValueError: it is not of that form.
    """
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        values |= {name: value} if equals else {"kind": name}
    if "status" in values:
        values.setdefault("kind", STATUS)
    return rule_of(values)


def rule_of(values: Mapping[str, Any]) -> Fault:
    """A rule from names and values, which may all be text.

    Raises:
        ValueError: a name is unknown, or a value is not of its type.
    """
    types: dict[str, Callable[[Any], Any]] = {"status": int, "retry_after": int, "count": int}
    types |= {"seconds": float, "rate": float, "after": _truth}
    known = {field.name for field in fields(Fault)}
    unknown = set(values) - known
    if unknown or "kind" not in values:
        raise ValueError(f"a rule has a kind and of these: {', '.join(sorted(known - {'kind'}))}")
    try:
        return Fault(**{name: types.get(name, str)(value) for name, value in values.items()})
    except (TypeError, OverflowError) as error:
        raise ValueError("a value is not of its type") from error


def _truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError("after has to be true or false")
    return text == "true"
