"""How figures are taken and shown: one kept connection, medians and percentiles, a table with goals."""

from __future__ import annotations

import http.client
import json
import os
import platform
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

API_VERSION = "2025-10-02-preview"
CODE = "print(6 * 7)"
REPLY_SECONDS = 120
IDLE_SECONDS = 2.5


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        name: what was measured.
        value: in `unit`.
        unit: such as ms.
        goal: the most that it should be; None where it stands for comparison only.
        beside: peers and limits, in words.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    beside: str = ""

    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        verdict = "" if self.goal is None else ("met" if self.value <= self.goal else "missed")
        goal = "" if self.goal is None else f"{self.goal:g} {self.unit}".strip()
        return f"| {self.name} | {self.value:.2f} {self.unit} | {goal} | {verdict} | {self.beside} |"


@dataclass
class Connection:
    """One kept connection to a part of the stack; a reply other than 2xx ends the run."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self._path = parts.path
        self._http = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=REPLY_SECONDS)
        self._used = 0.0

    def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Sends a request and reads the JSON reply; a reply without a body counts as an empty object.

        Raises:
            RuntimeError: the reply's status is not 2xx.
        """
        content = None if body is None else json.dumps(body)
        sent = {**self.headers, **(headers or {}), **({"Content-Type": "application/json"} if content else {})}
        # The parts' server closes connections that were idle for five seconds.
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._http.close()
        self._http.request(method, self._path + path, content, sent)
        reply = self._http.getresponse()
        text = reply.read()
        self._used = time.monotonic()
        if reply.status // 100 != 2:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {reply.status} {text[:300]!r}")
        data: dict[str, Any] = json.loads(text) if text else {}
        return data


def execute(pool: Connection, identifier: str, code: str = CODE) -> dict[str, Any]:
    """One execution of code that prints 42; it has to succeed."""
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
    reply = pool.send("POST", f"/executions?{query(identifier)}", body)
    if "42" not in reply["result"]["stdout"]:
        raise RuntimeError(f"The execution ended with {reply!r}")
    return reply


def query(identifier: str) -> str:
    """The parameters of every request to the pool."""
    return urlencode({"api-version": API_VERSION, "identifier": identifier})


def new_id() -> str:
    """A name that no session has."""
    return uuid.uuid4().hex


def milliseconds(action: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def machine() -> str:
    """The processor, the system, Python and the date, which a figure means nothing without."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; {system}; "
        f"Python {platform.python_version()}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def show(figures: Iterator[Figure]) -> None:
    """Prints the rows as they come."""
    for figure in figures:
        print(figure.row(), flush=True)


def show_head() -> None:
    """Prints the machine and the table's head."""
    print(f"{machine()}\n")
    print("| figure | value | goal | | beside it |\n|---|---|---|---|---|")
