"""The project's own files: what is deployed, what the whole check runs, what tests see."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.settings import table

ROOT = Path(__file__).parents[1]
# Notes how it was called; `-c` asks only whether it is there.
PYTHON = '#!/bin/sh\n[ "$1" = -c ] || echo "${0##*/} $*" >> "$CALLS"\n'


def test_no_folder_that_git_ignores_is_deployed() -> None:
    folders = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")]
    assert folders
    assert set(folders) <= set((ROOT / ".funcignore").read_text().splitlines())


def test_tests_see_no_settings_of_the_machine() -> None:
    assert [row.name for row in table() if os.environ.get(row.name) != ""] == []


class Check:
    """Runs .ci/run in a project of its own, with programs that only note their calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tools = folder / "tools"
        (folder / "project" / ".ci").mkdir(parents=True)
        self._tools.mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / "project" / ".ci")
        for name in ("bash", "dirname", "git", "mktemp", "rm", "tar"):
            (self._tools / name).symlink_to(shutil.which(name) or pytest.skip(f"{name} is not installed"))
        subprocess.run(["git", "init", "-q"], cwd=folder / "project", check=True, timeout=60)
        subprocess.run(["git", "add", "."], cwd=folder / "project", check=True, timeout=60)

    def __call__(self, *arguments: str, pythons: Sequence[str], ci: str) -> tuple[int, list[str], str]:
        """The exit code, the calls, and standard error."""
        for name in pythons:
            (self._tools / name).write_text(PYTHON)
            (self._tools / name).chmod(0o755)
        calls = self._folder / "calls"
        calls.touch()
        ran = subprocess.run(
            ["bash", "project/.ci/run", *arguments],
            cwd=self._folder,
            env={"PATH": str(self._tools), "CALLS": str(calls), "CI": ci},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, calls.read_text().splitlines(), ran.stderr


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def test_whole_check_installs_the_sandbox_and_runs_everything_in_ci(check: Check) -> None:
    code, calls, errors = check("-x", pythons=["python3", "python3.13", "apt-get"], ci="true")
    assert code == 0, errors
    assert calls == [
        "apt-get update -qq",
        "apt-get install -y -qq bubblewrap",
        "python3 dev.py test -x",
        "python3 dev.py test --classic",
        "python3 dev.py test --clients",
        "python3 dev.py test --infra",
        "python3.13 dev.py test",
    ]


def test_whole_check_fails_in_ci_without_the_newest_python(check: Check) -> None:
    code, calls, errors = check(pythons=["python3"], ci="true")
    assert (code, calls) == (1, [])
    assert "Python 3.13 is not installed" in errors


def test_whole_check_at_a_desk_runs_the_tests_only(check: Check) -> None:
    assert check("-x", pythons=["python3"], ci="")[:2] == (0, ["python3 dev.py test -x"])
