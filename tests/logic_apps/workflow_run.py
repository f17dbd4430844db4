"""One run of a workflow: how its actions ended, what its expressions see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.logic_apps.definition import Json
from tests.logic_apps.expressions import InvalidTemplate
from tests.logic_apps.http_calls import Exchange


@dataclass(frozen=True)
class Result:
    """How an action ended, and what `outputs('X')` gives."""

    status: str
    outputs: Mapping[str, Any] = field(default_factory=dict)


class Terminated(Exception):
    """A Terminate action has ended the run."""

    def __init__(self, status: str, error: Json) -> None:
        super().__init__(status)
        self.status = status
        self.error = error


@dataclass
class WorkflowRun:
    """One run of a workflow.

    Attributes:
        name: what `workflow().run.name` gives.
        trigger: outputs of its trigger.
        status: Running, then Succeeded, Failed or Cancelled.
        error: of a Terminate action.
        response: inputs of its Response action.
        results: how the actions ended, by name; of a loop's actions, those of the last iteration that ended.
    """

    name: str
    trigger: Mapping[str, Any]
    status: str = "Running"
    error: Json = field(default_factory=dict)
    response: Json | None = None
    results: dict[str, Result] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    failure: BaseException | None = None
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        self._on_cancel: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Cancels the run, as from the portal."""
        self.cancelled.set()
        for wake in self._on_cancel:
            wake()

    def sent(self, action: str, method: str = "POST") -> list[Exchange]:
        """The attempts of an action's requests."""
        return [row for row in self.exchanges if row.action == action and row.request.method == method]

    def append(self, variable: str, value: Any) -> None:
        """Adds to an array variable; the iterations of a loop do it at the same time."""
        with self._lock:
            self.variables[variable].append(value)

    def when_cancelled(self, wake: Callable[[], None]) -> None:
        """Something to be called at a cancellation."""
        self._on_cancel.append(wake)


class Scope:
    """What the expressions of some actions see: their own results, then those outside of their loop."""

    def __init__(self, results: dict[str, Result], outer: Scope | None = None, items: Json | None = None) -> None:
        self.results = results
        self._outer = outer
        self.items: Json = {**(outer.items if outer else {}), **(items or {})}

    def result(self, action: str) -> Result:
        if action in self.results:
            return self.results[action]
        if self._outer is None:
            raise InvalidTemplate(f"the action {action} has not run")
        return self._outer.result(action)
