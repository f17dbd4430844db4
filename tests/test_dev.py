"""dev.py in a small project of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dev_project import BOUND_SECONDS, Project, await_file, make_project
from tests.processes import all_gone, descendants

PACKAGE_APART = "--ignore=tests/integration/test_package.py"
# What comes later counts, so that a caller may still say `-n 0`.
PARALLEL = ["-n", str(min(8, (os.cpu_count() or 1) + 1)), "--dist", "loadfile", "--no-loadscope-reorder"]


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
    second = project.run("ask", "again", cwd=tmp_path)
    assert (second.code, second.err) == (0, "")
    assert json.loads(second.out)["argv"] == ["ask", "again"]


def test_tests_run_each_tool_under_a_headline(project: Project) -> None:
    ran = project.run("test", "-k", "one thing")
    assert ran.code == 0, ran.err
    assert project.calls() == [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["pytest", *PARALLEL, "-k", "one thing"],
    ]
    assert [line for line in ran.out.splitlines() if line.startswith("===")] == [
        "=== ruff check",
        "=== ruff format",
        "=== mypy",
        "=== pytest",
    ]
    # What the tests added stays when fewer packages are asked for.
    assert project.run("ask", "x").err == ""


def test_tests_are_told_the_packages_interpreter(bare: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PACKAGE_PYTHON", raising=False)
    shows = "import os; print('package', os.environ['PACKAGE_PYTHON'])"
    bare.require("tests/requirements.txt", bare.wheel("tools", "2.0", {"ruff": "", "mypy": "", "pytest": shows}))
    ran = bare.run("test")
    assert ran.code == 0, ran.err
    interpreter = bare.folder / ".venv-package" / "bin" / "python"
    assert f"package {interpreter}" in ran.out.splitlines()
    # What is deployed has nothing of the tests.
    alone = subprocess.run([interpreter, "-c", "import alpha, mypy"], capture_output=True, text=True, check=False)
    assert "No module named 'mypy'" in alone.stderr


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
    await_file(bare.folder / ".venv" / "pip.log")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=BOUND_SECONDS)
    ran = bare.run("ask", "x")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["alpha"] == 1


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_terminated_installation_leaves_no_process(bare: Project, tmp_path: Path) -> None:
    bare.require("requirements.txt", bare.endless_source(tmp_path / "building"))
    process = bare.start("ask", "x")
    await_file(tmp_path / "building")
    pids = descendants(process.pid)
    process.terminate()
    process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 143
    # pip, and the build that it started.
    assert len(pids) >= 2
    assert all_gone(pids)


@pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX's")
def test_two_runs_at_once_install_once(bare: Project) -> None:
    processes = [bare.start("ask", question) for question in ("first", "second")]
    outputs = [process.communicate(timeout=BOUND_SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [json.loads(out)["argv"][1] for out, _ in outputs] == ["first", "second"]
    assert sum("Installing packages" in err for _, err in outputs) == 1


def test_failed_addition_leaves_what_works(bare: Project) -> None:
    assert bare.run("ask", "x").code == 0
    tools = (bare.folder / "tests/requirements.txt").read_text()
    bare.require("tests/requirements.txt", bare.wheels / "missing-1.0-py3-none-any.whl")
    failed = bare.run("test")
    assert failed.code == 3
    assert "missing-1.0" in failed.err
    ran = bare.run("ask", "x")
    assert (ran.code, ran.err) == (0, "")
    (bare.folder / "tests/requirements.txt").write_text(tools)
    assert bare.run("test").code == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps a running program's file")
def test_environment_that_is_activated_is_made_anew(bare: Project) -> None:
    assert bare.run("ask", "x").code == 0
    bare.require("requirements.txt", bare.wheel("alpha", "2.0", {"alpha": "VERSION = 2"}))
    ran = bare.run("ask", "x", python=bare.folder / ".venv" / "bin" / "python")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["alpha"] == 2


def test_what_the_system_refuses_is_told_in_a_sentence(bare: Project) -> None:
    (bare.folder / ".venv").write_text("a file")
    ran = bare.run("ask", "x")
    assert ran.code == 3
    assert ".venv" in ran.err
    assert "Traceback" not in ran.err
    assert (bare.folder / ".venv").read_text() == "a file"


def test_storage_emulator_is_installed_where_it_is_used(bare: Project) -> None:
    # An app elsewhere has storage of its own.
    for asked in (["x"], ["--run", "x", "--url", "https://app.example"], ["--run", "x", "--url=https://app.example"]):
        assert bare.run("ask", *asked).code == 0
    assert bare.npm_calls() == []
    data = bare.folder / ".azurite" / "data"
    first = bare.run("up")
    assert first.code == 0, first.err
    assert ".azurite" in first.err
    (call,) = bare.npm_calls()
    assert call.startswith(f"ci --prefix {bare.folder / '.azurite'} --ignore-scripts")
    assert "--fetch-retries=1 --fetch-timeout=20000" in call
    data.mkdir()
    for command in (["up"], ["ask", "--run", "x"], ["test"]):
        ran = bare.run(*command)
        assert ran.code == 0, ran.err
    assert bare.npm_calls() == []
    # Another pin is another installation, and what the storage keeps stays.
    lock = bare.folder / "local" / "azurite" / "package-lock.json"
    lock.write_text("{}")
    assert bare.run("ask", "--run", "x").code == 0
    assert len(bare.npm_calls()) == 1
    assert (bare.folder / ".azurite/package-lock.json").read_text() == "{}"
    assert data.exists()


def test_emulator_that_cannot_be_installed_is_told_and_tried_again(bare: Project) -> None:
    for command in ("up", "test"):
        ran = bare.run(command, NPM_FAILS="1")
        assert ran.code == 0, ran.err
        assert "npm error: no such registry" in ran.err
        assert "It goes on without .azurite." in ran.err
    assert len(bare.npm_calls()) == 2
    assert bare.run("up").code == 0
    assert len(bare.npm_calls()) == 1


def test_without_npm_there_is_no_emulator(bare: Project, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = bare.run("up", PATH=str(empty))
    assert ran.code == 0, ran.err
    assert not (bare.folder / ".azurite").exists()


def test_in_ci_the_emulator_has_to_be_there(bare: Project, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    without = bare.run("test", PATH=str(empty), CI="true")
    assert without.code == 3
    assert "npm is not installed" in without.err
    failed = bare.run("test", NPM_FAILS="1", CI="true")
    assert failed.code == 3
    assert bare.calls() == []


def test_classic_replaces_autogen(bare: Project) -> None:
    old = bare.wheel("pyautogen", "0.9", {"alpha": "VERSION = 1"})
    new = bare.wheel("autogen", "0.14.1", {"alpha": "VERSION = 9"})
    links = f"--find-links {bare.wheels.as_uri()}\n"
    (bare.folder / "requirements.txt").write_text(f"{links}pyautogen[openai]==0.9\n")
    assert old.exists()
    assert new.exists()
    ran = bare.run("test", "--classic", "-x")
    assert ran.code == 0, ran.err
    assert bare.calls() == [["pytest", *PARALLEL, "tests/shared", "tests/integration", PACKAGE_APART, "-x"]]
    shown = subprocess.check_output(
        [str(bare.folder / ".venv-classic/bin/python"), "-c", "import alpha; print(alpha.VERSION)"], text=True
    )
    assert shown == "9\n"


def test_infrastructure_is_tested_in_an_environment_of_its_own(bare: Project) -> None:
    bare.require("tests/infra/requirements.txt", bare.wheels / "tools-1.0-py3-none-any.whl")
    ran = bare.run("test", "--infra", "-x")
    assert ran.code == 0, ran.err
    assert bare.calls() == [["pytest", "-c", "tests/infra/pytest.ini", "tests/infra", "-x"]]
    assert (bare.folder / ".venv-infra").exists()
    assert not (bare.folder / ".venv").exists()


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
