"""`python -m local up` and `python -m local ask`, run as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.azurite import missing

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 60
NO_AZURITE = missing()
needs_azurite = pytest.mark.usefixtures("installed_azurite")


@contextmanager
def up(folder: Path, *arguments: str, tools: Path | None = None, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`up` on a free port. Core Tools of the machine are not on its PATH; `tools` is, if given."""
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if not (Path(path) / "func").exists()]
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local", "up", "--port", "0"),
                *("--state-file", str(folder / "stack.json"), "--storage", str(folder / "storage")),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "PATH": os.pathsep.join([*([str(tools)] if tools else []), *paths]), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def announcement(process: subprocess.Popen[str]) -> str:
    """What `up` prints when it is ready."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            return "".join(lines)
    raise AssertionError("up ended before it was ready")


def ask(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ask` with the stack that `up` started in the same folder, or one of its own."""
    return subprocess.run(
        [sys.executable, "-m", "local", "ask", "--state-file", str(folder / "stack.json"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
