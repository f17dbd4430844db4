"""One command for a newcomer: installs what is needed, then asks, starts the local stack or tests.

    python3 dev.py ask [--run] "What is the standard deviation of 4, 8, 15, 16, 23, 42?"
    python3 dev.py up
    python3 dev.py pool
    python3 dev.py test [--classic | --clients | --infra] [arguments for pytest]
    python3 dev.py check

Standard library only. The packages go into `.venv` (the app, the local stack, the tests) and
`.venv-session` (what the sessions' kernels run in), once, and again only when a requirement file or the
Python version changes; where npm is installed, `up`, `ask --run` and `test` put the storage emulator into
`.azurite`. `pool` runs the session pool alone, for clients of any kind. `test --classic` runs the application's
tests on the package `autogen` instead of `pyautogen`, in `.venv-classic`; `test --clients` runs other people's
clients of session pools on ours, each in an environment of its own; `test --infra` checks what `azd up` would
deploy, offline, in `.venv-infra`.
"""

# No `from __future__ import annotations`: a Python too old for it must get as far as the sentence below.
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

OLDEST, NEWEST = (3, 10), (3, 13)


def _require_supported_python() -> None:
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    found = ""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = f"python3.{minor}"
        # A name on the PATH may be a version manager's shim for a Python that is switched off.
        if shutil.which(name) and subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            found = f" There is one here: {name} dev.py"
            break
    sys.exit(f"This is Python {sys.version_info[0]}.{sys.version_info[1]}; the project needs 3.10 to 3.13.{found}")


_require_supported_python()

from local.azurite.installation import wanted as storage  # noqa: E402  # its Python has to be supported
from local.environments import Environment, Failed, install, say  # noqa: E402  # its Python has to be supported

ROOT = Path(__file__).resolve().parent
PACKAGE = ("requirements.txt",)
APP = (*PACKAGE, "local/requirements.txt")
TESTS = (*APP, "tests/requirements.txt")
SESSION = ("local/session_pool/requirements.txt",)
CLASSIC = ("pyautogen[openai]==0.9", "autogen[openai]==0.14.1")
CLIENTS = "tests/clients"
INFRA = "tests/infra"
# What is deployed has `pyautogen`.
CLASSIC_TESTS = ("tests/shared", "tests/integration", "--ignore=tests/integration/test_package.py")
# Most tests wait more than they compute. What a file's tests share is started once in the worker that has the file,
# and the files with few and long tests come first.
PARALLEL = ("-n", str(min(8, (os.cpu_count() or 1) + 1)), "--dist", "loadfile", "--no-loadscope-reorder")


def session_variables(session: Environment, package: Environment | None = None) -> dict[str, str]:
    """This process's environment, with the kernels' interpreter in SESSION_PYTHON, and another in PACKAGE_PYTHON."""
    variables = {"SESSION_PYTHON": str(session.python), **os.environ}
    if package is not None:
        variables.setdefault("PACKAGE_PYTHON", str(package.python))
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def hand_over(module: str, arguments: Sequence[str]) -> NoReturn:
    """Becomes `python -m` that module with these arguments, with everything it needs installed."""
    app, session = Environment(".venv", APP), Environment(".venv-session", SESSION)
    is_elsewhere = any(argument.partition("=")[0] == "--url" for argument in arguments)
    needs_storage = arguments[:1] == ["up"] or ("--run" in arguments and not is_elsewhere)
    install([app, session, *(storage() if needs_storage else [])])
    command = [str(app.python), "-m", module, *arguments]
    if os.name == "posix":
        os.execve(command[0], command, session_variables(session))  # noqa: S606  # no shell is wanted
    sys.exit(subprocess.call(command, env=session_variables(session)))


def run_steps(
    steps: Sequence[tuple[str, list[str]]],
    environment: Environment,
    session: Environment,
    package: Environment | None = None,
) -> int:
    """Runs one tool after the other, each under a headline, until one fails.

    Args:
        steps: the headline, and the arguments for the environment's Python.
        environment: where the tools are installed.
        session: the kernels' environment.
        package: that of what is deployed, for tests that need it.

    Returns:
        The exit code of the one that failed, or 0.
    """
    for headline, arguments in steps:
        print(f"\n=== {headline}", flush=True)
        command = [str(environment.python), "-m", *arguments]
        code = subprocess.call(command, cwd=ROOT, env=session_variables(session, package))
        if code != 0:
            return code
    return 0


CHECKS = [
    ("ruff check", ["ruff", "check"]),
    ("ruff format", ["ruff", "format", "--check"]),
    ("mypy", ["mypy"]),
]


def check() -> int:
    """Runs ruff and mypy; returns the exit code."""
    environment, session = Environment(".venv", TESTS), Environment(".venv-session", SESSION)
    install([environment])
    return run_steps(CHECKS, environment, session)


def test(arguments: Sequence[str]) -> int:
    """Runs ruff, mypy and pytest; returns the exit code.

    Args:
        arguments: for pytest; `--classic` among them runs only pytest, on the package `autogen`, `--clients`
            only the tests of other people's clients, and `--infra` only those of the infrastructure.
    """
    session = Environment(".venv-session", SESSION)
    if "--infra" in arguments:
        return test_infra([argument for argument in arguments if argument != "--infra"], session)
    if "--clients" in arguments:
        return test_clients([argument for argument in arguments if argument != "--clients"], session)
    rest = [argument for argument in arguments if argument != "--classic"]
    if "--classic" not in arguments:
        environment, package = Environment(".venv", TESTS), Environment(".venv-package", PACKAGE)
        install([environment, session, package, *storage()])
        return run_steps([*CHECKS, ("pytest", ["pytest", *PARALLEL, *rest])], environment, session, package)
    environment = Environment(".venv-classic", TESTS, replace=CLASSIC)
    install([environment, session, *storage()])
    headline = f"pytest on {CLASSIC[1]}"
    return run_steps([(headline, ["pytest", *PARALLEL, *CLASSIC_TESTS, *rest])], environment, session)


def test_clients(arguments: Sequence[str], session: Environment) -> int:
    """Runs each client's tests in its own environment; returns the exit code of the first that failed, or 0.

    Args:
        arguments: for pytest.
        session: the kernels' environment.
    """
    pool = Environment(".venv", TESTS)
    files = sorted((ROOT / CLIENTS).glob("requirements-*.txt"))
    clients = {file.stem.removeprefix("requirements-"): file for file in files}
    install([pool, session])
    for name, file in clients.items():
        environment = Environment(f".venv-client-{name}", [file.relative_to(ROOT).as_posix()])
        install([environment])
        tests = [str(path) for path in sorted((ROOT / CLIENTS).glob(f"test_{name}*.py"))]
        pytest = ["pytest", "-c", f"{CLIENTS}/pytest.ini", *tests, *arguments]
        code = run_steps([(f"pytest of the client {name}", pytest)], environment, session)
        if code != 0:
            return code
    return 0


def test_infra(arguments: Sequence[str], session: Environment) -> int:
    """Runs the tests of the infrastructure in their own environment; returns the exit code.

    Args:
        arguments: for pytest.
        session: the kernels' environment, which they do not need.
    """
    environment = Environment(".venv-infra", [f"{INFRA}/requirements.txt"])
    install([environment])
    pytest = ["pytest", "-c", f"{INFRA}/pytest.ini", INFRA, *arguments]
    return run_steps([("pytest of the infrastructure", pytest)], environment, session)


def _end_in_order() -> None:
    # A terminated run must end the installations it started; they do not hear when the terminal goes.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code, 2 for a command that does not exist."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    _end_in_order()
    try:
        if command in ("ask", "up"):
            hand_over("local", [command, *rest])
        if command == "pool":
            hand_over("local.session_pool", rest)
        if command == "test":
            return test(rest)
        if command == "check" and not rest:
            return check()
    except Failed as failure:
        say(str(failure))
        return 3
    except OSError as error:
        say(f"{command} failed: {error}.")
        return 3
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    wants_help = command in ("-h", "--help", "help")
    print((__doc__ or "").strip(), file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
