"""What tests need of the machine. In CI everything has to be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from local.stack import session_python


def give_up(reason: str) -> NoReturn:
    """Skips a test for what the machine lacks; in CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need(reason: str) -> None:
    """Gives a test up where there is a reason; an empty one is none."""
    if reason:
        give_up(reason)


def need_kernels() -> None:
    """Needs the environment of the sessions' kernels."""
    if not session_python().exists():
        give_up("the sessions' environment is not installed: run `python3 dev.py test`, or set SESSION_PYTHON")
