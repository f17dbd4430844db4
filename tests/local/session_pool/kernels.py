"""The interpreter of the tests' kernels."""

from __future__ import annotations

import os

import pytest


def kernel_python() -> str:
    """The interpreter that SESSION_PYTHON names; tests are skipped without one, except in CI."""
    python = os.environ.get("SESSION_PYTHON", "")
    if not python:
        reason = "SESSION_PYTHON names no interpreter with ipykernel"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python
