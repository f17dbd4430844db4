"""What is installed in the project's folder, above all virtual environments, and how: dev.py's larger half.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
LOG_LINES_SHOWN = 40
INSTALL_SECONDS = 1800
# What goes on without it does not wait long for it.
OPTIONAL_INSTALL_SECONDS = 300


class Failed(Exception):
    """What went wrong, as a sentence for the person at the terminal."""


def say(text: str) -> None:
    """Prints on standard error: standard output belongs to the command's result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def base_python() -> str:
    """The interpreter to make environments with: not one of theirs, which an installation may remove.

    Raises:
        Failed: this Python belongs to an environment here, and the one behind it is not found.
    """
    if not Path(sys.prefix).resolve().is_relative_to(ROOT):
        return sys.executable
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    # Python 3.10 names the environment's own interpreter as its base.
    behind = [getattr(sys, "_base_executable", ""), f"{sys.base_prefix}/bin/python{version}"]
    for candidate in map(Path, filter(None, behind)):
        if candidate.exists() and not candidate.parent.resolve().is_relative_to(ROOT):
            return str(candidate)
    raise Failed("This Python is that of an environment of the project. Run `deactivate`, then run this again.")


class Installable(Protocol):
    """A folder of the project that is filled by commands."""

    name: str
    log: Path
    optional: bool

    def is_ready(self) -> bool:
        """Whether everything is installed."""

    def prepare(self) -> None:
        """Makes the folder fit for an installation."""

    def commands(self) -> Iterator[list[str]]:
        """The commands that install it, in order."""

    def finish(self) -> None:
        """Notes that the installation is complete."""


class Environment:
    """A virtual environment in the project's folder, and what is to be installed in it.

    Args:
        name: its folder.
        files: requirement files, relative to the project's folder.
        replace: a requirement, and the one to install instead of it.
    """

    optional = False

    def __init__(self, name: str, files: Sequence[str], replace: tuple[str, str] = ("", "")) -> None:
        self.name = name
        self.folder = ROOT / name
        self.log = self.folder / "pip.log"
        self._stamp = self.folder / "dev.json"
        self._texts = {file: (ROOT / file).read_text("utf-8").replace(*replace) for file in files}
        self._python_version = f"{sys.version} in {sys.base_prefix}"
        self._digests = {f: hashlib.sha256(text.encode()).hexdigest() for f, text in self._texts.items()}

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def is_ready(self) -> bool:
        """Whether everything required is installed, for this version of Python."""
        installed = self._installed()
        return all(installed.get(file) == digest for file, digest in self._digests.items())

    def prepare(self) -> None:
        """Makes the folder fit for an installation: emptied, unless packages are only to be added.

        Raises:
            Failed: there is such a folder, and dev.py did not make it.
        """
        installed = self._installed()
        only_adds = installed and all(self._digests.get(f, digest) == digest for f, digest in installed.items())
        if only_adds:
            # The note stays: what it says is there works also when the addition fails.
            self._digests = {**installed, **self._digests}
            return
        if self.folder.exists():
            if not self._stamp.exists() and any(self.folder.iterdir()):
                raise Failed(f"{self.name} was not made by dev.py. Rename or remove it, then run this again.")
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        self._write_stamp({})

    def commands(self) -> Iterator[list[str]]:
        """The commands that install it, in order."""
        if not self.python.exists():
            yield [base_python(), "-m", "venv", str(self.folder)]
        install = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        install += ["--progress-bar", "off"]
        for file, text in self._texts.items():
            copy = self.folder / file.replace("/", "-")
            copy.write_text(text, "utf-8")
            install += ["-r", str(copy)]
        yield install

    def finish(self) -> None:
        """Notes that the installation is complete; without this note the next run starts it afresh."""
        self._write_stamp({"python": self._python_version, "requirements": self._digests})

    def _installed(self) -> dict[str, str]:
        """The requirement files that are installed, with their digests."""
        try:
            stamp = json.loads(self._stamp.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        if stamp.get("python") != self._python_version or not self.python.exists():
            return {}
        return dict(stamp["requirements"])

    def _write_stamp(self, content: dict[str, Any]) -> None:
        temporary = self._stamp.with_suffix(".new")
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(self._stamp)


class Installation:
    """An installation under way.

    Args:
        environment: what to install; where it is optional, a failure is told and is no error.
        inherited: file descriptors that the commands keep open.
    """

    def __init__(self, environment: Installable, inherited: tuple[int, ...]) -> None:
        self.environment = environment
        self._inherited = inherited
        self._commands = environment.commands()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = time.monotonic()
        self.failed = False

    @property
    def seconds(self) -> int:
        """How long it has taken so far."""
        return int(time.monotonic() - self._started)

    def is_done(self) -> bool:
        """Whether it has ended; starts the next command when the one before has ended.

        Raises:
            Failed: a command failed or took too long.
        """
        try:
            return self._is_complete()
        except Failed as failure:
            if not self.environment.optional:
                raise
            self.stop()
            say(f"{failure}\nIt goes on without {self.environment.name}.")
            self.failed = True
            return True

    def _is_complete(self) -> bool:
        if self._process is not None:
            code = self._process.poll()
            limit = OPTIONAL_INSTALL_SECONDS if self.environment.optional else INSTALL_SECONDS
            if code is None and self.seconds < limit:
                return False
            if code != 0:
                raise Failed(self._failure("took too long" if code is None else f"failed with exit code {code}"))
        command = next(self._commands, None)
        if command is None:
            self.environment.finish()
            return True
        with open(self.environment.log, "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # venv, pip and npm
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                pass_fds=self._inherited,
                # They start processes of their own, which `stop` has to end too.
                start_new_session=True,
            )
        return False

    def stop(self) -> None:
        """Ends the command that runs, if any, and what it has started."""
        if self._process is None or self._process.poll() is not None:
            return
        if os.name == "posix":
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait(timeout=30)

    def _failure(self, what: str) -> str:
        lines = self.environment.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
        shown = "\n".join(f"    {line}" for line in lines)
        place = self.environment.log.relative_to(ROOT)
        return f"{shown}\nInstalling {self.environment.name} {what}. The whole log is in {place}."


@contextlib.contextmanager
def installation_lock() -> Iterator[tuple[int, ...]]:
    """Keeps two runs from installing at once; yields the descriptor that holds the lock, where there is one.

    Whoever inherits the descriptor holds the lock too, so that pip left behind by a killed run is waited for.
    """
    if os.name != "posix":
        yield ()
        return
    import fcntl

    with open(__file__, "rb") as file:
        waited_until = time.monotonic() + INSTALL_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > waited_until:
                    raise Failed("Another dev.py has been installing for half an hour. End it first.") from None
                if not told:
                    say("Another dev.py is installing; waiting for it.")
                told = True
                time.sleep(0.5)
        yield (file.fileno(),)


def install(environments: Sequence[Installable]) -> None:
    """Installs those that are not ready, all at once, and shows how far they are.

    Raises:
        Failed: an installation failed; the text holds the end of pip's log.
    """
    if all(environment.is_ready() for environment in environments):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Failed(
            "This Python lacks venv or pip. On Debian and Ubuntu: sudo apt install python3-venv. Then run this again."
        )
    with installation_lock() as inherited:
        missing = [environment for environment in environments if not environment.is_ready()]
        if not missing:
            return
        for environment in missing:
            environment.prepare()
        say("Installing packages (once, and again only when the requirements change)")
        _run_all([Installation(environment, inherited) for environment in missing])


def _run_all(running: list[Installation]) -> None:
    live = sys.stderr.isatty()
    started = told = time.monotonic()
    try:
        while running:
            for installation in list(running):
                if installation.is_done():
                    running.remove(installation)
                    name = installation.environment.name
                    outcome = "failed" if installation.failed else "ready"
                    say(f"{_clear(live)}  {name:<14} {outcome} after {installation.seconds} s")
            names = ", ".join(installation.environment.name for installation in running)
            if running and (live or time.monotonic() - told > 10):
                told = time.monotonic()
                text = f"  {names}: {told - started:.0f} s"
                sys.stderr.write(_clear(live) + text + ("" if live else "\n"))
                sys.stderr.flush()
            time.sleep(0.1)
    except BaseException:
        say(_clear(live))
        raise
    finally:
        for installation in running:
            installation.stop()


def _clear(live: bool) -> str:
    return "\r\033[K" if live else ""
