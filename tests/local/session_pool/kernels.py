"""What the tests' sessions are made of, and whether this machine has a sandbox for them."""

from __future__ import annotations

import os

from local.session_pool import sandbox
from local.session_pool.launch import Isolation
from local.session_pool.sandbox import Limits
from tests.needs import give_up, need


def kernel_python() -> str:
    """The interpreter that SESSION_PYTHON names; tests are skipped without one, except in CI."""
    python = os.environ.get("SESSION_PYTHON", "")
    if not python:
        give_up("SESSION_PYTHON names no interpreter with ipykernel")
    return python


def isolation(
    sandboxed: bool, limits: Limits | None = None, network: bool = False, programs: tuple[str, ...] = ()
) -> Isolation:
    """How a test's containers are made; the test is skipped where there can be no sandbox, except in CI."""
    need(sandbox.missing() if sandboxed else "")
    return Isolation(programs or (kernel_python(),), sandboxed=sandboxed, network=network, limits=limits or Limits())
