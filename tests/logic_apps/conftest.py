"""The real app behind a proxy that can lose replies, on a stack with storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from local import azurite
from local.stack import HOST, Stack
from tests.logic_apps.clock import FastClock
from tests.logic_apps.definition import EXAMPLES, read
from tests.logic_apps.faulty_proxy import FaultyProxy, proxy_to
from tests.logic_apps.player import Connector, Player
from tests.needs import need, need_kernels


@dataclass
class App:
    """The app, as workflows reach it.

    Attributes:
        proxy: in front of it.
        key: its function key.
    """

    proxy: FaultyProxy
    key: str

    def player(
        self, example: str, given: Mapping[str, Any] | None = None, *, connector: Connector | None = None
    ) -> Player:
        """A player of an example, by its folder below `examples/logic-apps`."""
        settings = {
            "RUNS_BASE_URL": self.proxy.url,
            "RUNS_FUNCTION_KEY": self.key,
            "RUNS_AUDIENCE": "api://agents",
            "SERVICE_BUS_QUEUE": "questions",
        }
        values = {"baseUrl": self.proxy.url, "functionKey": self.key, **(given or {})}
        return Player(read(EXAMPLES / example, settings), values, clock=FastClock(), connector=connector)

    def runs(self, headers: dict[str, str] | None = None) -> set[str]:
        """The ids of all runs of the caller."""
        return {row["run_id"] for row in self.rows(headers)}

    def rows(self, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """All runs of the caller, as they are listed."""
        found: list[dict[str, Any]] = []
        query: dict[str, str] = {"limit": "50"}
        while True:
            reply = requests.get(
                f"{self.proxy.url}/api/runs",
                params=query,
                headers={"x-functions-key": self.key, **(headers or {})},
                timeout=30,
            )
            assert reply.status_code == 200, reply.text
            found += reply.json()["runs"]
            if not reply.json()["continuation"]:
                return found
            query["continuation"] = reply.json()["continuation"]


@pytest.fixture(scope="session")
def parts() -> None:
    """What an app of a test's own needs on this machine."""
    need(azurite.missing())
    need_kernels()


@contextmanager
def app_of(**options: Any) -> Iterator[App]:
    """An app of a test's own; the options are those of `Stack`."""
    with Stack(host_args=["--enable-auth"], **options) as stack, proxy_to(stack.url) as proxy:
        yield App(proxy, str(stack.ready(HOST)["key"]))


@pytest.fixture(scope="package")
def running_app(parts: None) -> Iterator[App]:
    with app_of() as app:
        yield app


@pytest.fixture
def app(running_app: App) -> App:
    """The app, with a proxy that does nothing yet."""
    proxy = running_app.proxy
    proxy.passed.clear()
    proxy.lose = lambda number, method, path: False
    proxy.twice = lambda method, path: False
    return running_app
