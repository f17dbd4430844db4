from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.azurite.running import running_azurite
from local.functions_host.app import create_app
from tests.local.functions_host.hosting import ANONYMOUS, Client, Host, ServeApp, WriteApp


@pytest.fixture(autouse=True)
def _process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hosting an app changes the environment and the import state of the process."""
    environment = dict(os.environ)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "function_app", raising=False)
    yield
    sys.modules.pop("function_app", None)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def write_app(tmp_path: Path) -> WriteApp:
    """Writes an app: `source` after a FunctionApp at anonymous level, and other files."""

    def write(source: str, *, start: str = ANONYMOUS, files: dict[str, str] | None = None) -> Path:
        for name, content in {"function_app.py": start + textwrap.dedent(source), **(files or {})}.items():
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


@pytest.fixture
def serve_app(write_app: WriteApp) -> Iterator[ServeApp]:
    """Writes an app and gives a client of its host."""
    clients: list[Client] = []

    def serve(source: str, *, start: str = ANONYMOUS, files: dict[str, str] | None = None, **options: Any) -> Client:
        clients.append(Client(create_app(write_app(source, start=start, files=files), **options)))
        return clients[-1]

    yield serve
    for client in clients:
        client.app.state.hosted.invoker.close()


@pytest.fixture(scope="session")
def azurite(installed_azurite: None) -> Iterator[str]:
    """A connection string of an Azurite that is there for all tests."""
    with running_azurite() as settings:
        yield settings["AzureWebJobsStorage"]


@pytest.fixture
def start(write_app: WriteApp) -> Iterator[Any]:
    """Writes an app and starts its host: options of the command line, and variables of the environment."""
    hosts: list[Host] = []

    def run(*options: str, source: str, files: dict[str, str] | None = None, **variables: str) -> Host:
        hosts.append(Host(write_app(source, files=files), *options, **variables))
        return hosts[-1]

    yield run
    for host in hosts:
        host.process.kill()
        host.end()
