"""dev.py in a small project of its own, whose requirements are wheels made here: no network is needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

DEV = Path(__file__).parents[1] / "dev.py"
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


@dataclass(frozen=True)
class Project:
    """A folder with dev.py and requirements of its own."""

    folder: Path
    wheels: Path

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

    def start(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PIP_NO_INDEX": "1", "CALLS": str(self.folder / "calls"), **variables}
        environment.pop("SESSION_PYTHON", None)
        return subprocess.Popen(
            [sys.executable, str(self.folder / "dev.py"), *arguments],
            cwd=cwd or self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> Ran:
        with self.start(*arguments, cwd=cwd, **variables) as process:
            out, err = process.communicate(timeout=BOUND_SECONDS)
        return Ran(process.returncode, out, err)

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
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    project = Project(folder / "project", wheels)
    project.folder.mkdir()
    shutil.copy(DEV, project.folder)
    alpha = project.wheel("alpha", "1.0", {"alpha": "VERSION = 1"})
    tools = project.wheel("tools", "1.0", {"ruff": TOOL, "mypy": TOOL, "pytest": TOOL})
    project.require("requirements.txt", alpha)
    project.require("local/requirements.txt")
    project.require("local/session_pool/requirements.txt")
    project.require("tests/requirements.txt", tools)
    (project.folder / "local" / "__main__.py").write_text(LOCAL_MAIN)
    (project.folder / "local" / "__init__.py").write_text("")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("dev"))


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def test_installs_once_and_hands_over(project: Project, tmp_path: Path) -> None:
    first = project.run("ask", "how many?", "--json")
    assert first.code == 0, first.err
    assert json.loads(first.out) == {
        "argv": ["ask", "how many?", "--json"],
        "alpha": 1,
        "session": str(project.folder / ".venv-session" / "bin" / "python"),
    }
    assert ".venv " in first.err
    assert ".venv-session " in first.err
    # From another folder, so that a relative --file means what the user sees.
    second = project.run("up", cwd=tmp_path)
    assert (second.code, second.err) == (0, "")
    assert json.loads(second.out)["argv"] == ["up"]


def test_tests_run_each_tool_under_a_headline(project: Project) -> None:
    ran = project.run("test", "-k", "one thing")
    assert ran.code == 0, ran.err
    assert project.calls() == [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["pytest", "-k", "one thing"],
    ]
    assert [line for line in ran.out.splitlines() if line.startswith("===")] == [
        "=== ruff check",
        "=== ruff format",
        "=== mypy",
        "=== pytest",
    ]
    # What the tests added stays when fewer packages are asked for.
    assert project.run("ask", "x").err == ""


def test_first_failure_ends_the_tests_with_its_code(project: Project) -> None:
    ran = project.run("test", FAIL="mypy")
    assert ran.code == 7
    assert [call[0] for call in project.calls()] == ["ruff", "ruff", "mypy"]


def test_check_runs_no_tests(project: Project) -> None:
    assert project.run("check").code == 0
    assert [call[0] for call in project.calls()] == ["ruff", "ruff", "mypy"]


def test_changed_requirements_are_installed_also_after_a_failure(bare: Project) -> None:
    missing = bare.wheels / "missing-1.0-py3-none-any.whl"
    bare.require("local/requirements.txt", missing)
    failed = bare.run("ask", "x")
    assert failed.code == 3
    assert "missing-1.0" in failed.err
    assert "Installing .venv failed" in failed.err
    bare.require("local/requirements.txt")
    bare.require("requirements.txt", bare.wheel("alpha", "2.0", {"alpha": "VERSION = 2"}))
    ran = bare.run("ask", "x")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["alpha"] == 2


@pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX's")
def test_killed_installation_is_made_good(bare: Project) -> None:
    process = bare.start("ask", "x")
    deadline = time.monotonic() + BOUND_SECONDS
    while not (bare.folder / ".venv" / "pip.log").exists() and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=BOUND_SECONDS)
    ran = bare.run("ask", "x")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["alpha"] == 1


def test_classic_replaces_autogen(bare: Project) -> None:
    old = bare.wheel("pyautogen", "0.9", {"alpha": "VERSION = 1"})
    new = bare.wheel("autogen", "0.14.1", {"alpha": "VERSION = 9"})
    links = f"--find-links {bare.wheels.as_uri()}\n"
    (bare.folder / "requirements.txt").write_text(f"{links}pyautogen[openai]==0.9\n")
    assert old.exists()
    assert new.exists()
    ran = bare.run("test", "--classic", "-x")
    assert ran.code == 0, ran.err
    assert bare.calls() == [["pytest", "tests/shared", "tests/integration", "-x"]]
    shown = subprocess.check_output(
        [str(bare.folder / ".venv-classic/bin/python"), "-c", "import alpha; print(alpha.VERSION)"], text=True
    )
    assert shown == "9\n"


def test_environment_of_somebody_else_is_left_alone(bare: Project) -> None:
    (bare.folder / ".venv").mkdir()
    (bare.folder / ".venv" / "mine").write_text("precious")
    ran = bare.run("ask", "x")
    assert ran.code == 3
    assert "was not made by dev.py" in ran.err
    assert (bare.folder / ".venv" / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("prelude", "sentence"),
    [
        ("sys.version_info = (3, 9, 18)", "This is Python 3.9; the project needs 3.10 to 3.13."),
        ("sys.version_info = (3, 14, 0)", "This is Python 3.14; the project needs 3.10 to 3.13."),
        ("sys.modules['ensurepip'] = None", "sudo apt install python3-venv"),
    ],
)
def test_unfit_python_is_told_in_a_sentence(bare: Project, prelude: str, sentence: str) -> None:
    script = (
        f"import sys, runpy; {prelude}; sys.argv = ['dev.py', 'ask']; runpy.run_path('dev.py', run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=bare.folder,
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert ran.returncode != 0
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr


def test_unknown_command_shows_the_usage(bare: Project) -> None:
    ran = bare.run("fly")
    assert (ran.code, ran.out) == (2, "")
    assert "python3 dev.py ask" in ran.err
    assert bare.run("--help").code == 0
