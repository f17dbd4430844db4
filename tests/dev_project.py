"""A small project of its own for dev.py, whose requirements are wheels made here: no network is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUND_SECONDS = 100

# Stands for ruff, mypy and pytest: notes how it was called, and fails when told to.
TOOL = """
import json, os, sys
name = __spec__.name
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
print(name, "speaks")
sys.exit(7 if os.environ.get("FAIL") == name else 0)
"""

LOCAL_MAIN = """
import json, os, sys
import alpha
print(json.dumps({"argv": sys.argv[1:], "alpha": alpha.VERSION, "session": os.environ["SESSION_PYTHON"]}))
"""


# Builds a package by waiting: pip runs it in a process of its own.
BACKEND = """
import pathlib, signal
def build_wheel(*arguments, **options):
    signal.alarm(100)
    pathlib.Path({marker!r}).touch()
    signal.pause()
get_requires_for_build_wheel = prepare_metadata_for_build_wheel = build_wheel
"""
BUILD_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


# Stands for npm: notes how it was called, and installs what the stack looks for, or fails when told to.
NPM = """#!/bin/sh
echo "$*" >> "$CALLS-npm"
[ -z "$NPM_FAILS" ] || { echo "npm error: no such registry" >&2; exit 1; }
mkdir -p "$3/node_modules/azurite/dist/src"
cp "$3/package-lock.json" "$3/node_modules/azurite/dist/src/azurite.js"
"""


@dataclass(frozen=True)
class Project:
    """A folder with dev.py and requirements of its own."""

    folder: Path
    wheels: Path
    tools: Path

    def require(self, file: str, *wheels: Path) -> None:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{wheel.as_uri()}\n" for wheel in wheels))

    def wheel(self, name: str, version: str, modules: Mapping[str, str]) -> Path:
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            for module, text in modules.items():
                archive.writestr(f"{module}.py", text)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        return path

    def endless_source(self, marker: Path) -> Path:
        """A source distribution whose build touches the marker and does not end."""
        folder = self.wheels / "endless-1.0"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(BUILD_SYSTEM)
        (folder / "backend.py").write_text(BACKEND.format(marker=str(marker)))
        path = self.wheels / "endless-1.0.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, arcname=folder.name)
        return path

    def start(
        self, *arguments: str, cwd: Path | None = None, python: str | Path = sys.executable, **variables: str
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(self.tools), os.environ["PATH"]])
        own = {"PIP_NO_INDEX": "1", "CALLS": str(self.folder / "calls"), "PATH": path, "CI": ""}
        environment = {**os.environ, **own, **variables}
        environment.pop("SESSION_PYTHON", None)
        return subprocess.Popen(
            [str(python), str(self.folder / "dev.py"), *arguments],
            cwd=cwd or self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(
        self, *arguments: str, cwd: Path | None = None, python: str | Path = sys.executable, **variables: str
    ) -> Ran:
        with self.start(*arguments, cwd=cwd, python=python, **variables) as process:
            out, err = process.communicate(timeout=BOUND_SECONDS)
        return Ran(process.returncode, out, err)

    def npm_calls(self) -> list[str]:
        path = self.folder / "calls-npm"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def calls(self) -> list[Sequence[str]]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def make_project(folder: Path) -> Project:
    """A project in a new folder below this one."""
    wheels, tools = folder / "wheels", folder / "tools"
    wheels.mkdir(parents=True)
    tools.mkdir()
    for name in ("npm", "node"):
        (tools / name).write_text(NPM)
        (tools / name).chmod(0o755)
    project = Project(folder / "project", wheels, tools)
    project.folder.mkdir()
    shutil.copy(ROOT / "dev.py", project.folder)
    alpha = project.wheel("alpha", "1.0", {"alpha": "VERSION = 1"})
    tools = project.wheel("tools", "1.0", {"ruff": TOOL, "mypy": TOOL, "pytest": TOOL})
    project.require("requirements.txt", alpha)
    project.require("local/requirements.txt")
    project.require("local/session_pool/requirements.txt")
    project.require("tests/requirements.txt", tools)
    (project.folder / "local" / "__main__.py").write_text(LOCAL_MAIN)
    for name in ("__init__.py", "environments.py"):
        shutil.copy(ROOT / "local" / name, project.folder / "local")
    shutil.copytree(ROOT / "local" / "azurite", project.folder / "local" / "azurite")
    return project


def await_file(path: Path) -> None:
    """Waits, within the bound, until there is such a file."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        os.sched_yield()
