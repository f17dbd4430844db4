"""The real app over HTTP, on a stack with real kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import requests

from local.stack import Stack
from tests.needs import need_kernels

StackFactory = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="session", autouse=True)
def _kernels() -> None:
    need_kernels()


@contextmanager
def run_stack(**options: Any) -> Iterator[Stack]:
    """A stack of a test's own."""
    with Stack(**options) as stack:
        yield stack


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    with run_stack() as running:
        yield running


@pytest.fixture(scope="session")
def stack_of() -> StackFactory:
    return run_stack


class Caller:
    """Calls one stack's chat route."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, message: str, *, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """A chat that is answered with 200."""
        response = self.post({"message": message, **fields}, headers=headers)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def post(self, body: Any, *, headers: dict[str, str] | None = None) -> requests.Response:
        return requests.post(f"{self.url}/api/chat", json=body, headers=headers, timeout=230)


@pytest.fixture(scope="package")
def ask(stack: Stack) -> Caller:
    return Caller(stack.url)
