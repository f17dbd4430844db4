"""The sandbox of a container: bubblewrap's namespaces, and limits on what the code inside may use up.

What is in it: the system's programs and the sessions' interpreter, read-only; empty directories of a limited
size; no network unless the pool allows it; no environment, files or processes of the host. It shares the
host's kernel and is no match for the Hyper-V boundary of the real service.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from local.session_pool import cgroup

DATA, HOME, SOCKETS = "/mnt/data", "/home/session", "/run/session"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_LINKS = "/etc/alternatives"
_SETTINGS = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"),
    # Not all of ssl: it has a directory of private keys, which root's sandbox could read.
    *("fonts", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "localtime"),
)
_NETWORK_SETTINGS = ("resolv.conf", "nsswitch.conf", "hosts")
_SOCKETS_BYTES = 1 << 20
_ACCOUNT = "session:x:1000:1000::/home/session:/bin/sh\n"
_GROUP = "session:x:1000:\n"
_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    "--disable-userns",
)
_VERSION = (0, 8)
TRY_SECONDS = 10.0
INSTALL_HINT = "Install bubblewrap (Debian and Ubuntu: sudo apt install bubblewrap)"


@dataclass(frozen=True)
class Limits:
    """What one session may use.

    Attributes:
        memory_bytes: of all its processes together where control groups can be used, else of each process.
        processes: at once.
        file_bytes: of one file.
        disk_bytes: of /mnt/data; its other directories together get as much again.
        open_files: of one process.
    """

    memory_bytes: int = 2 << 30
    processes: int = 256
    file_bytes: int = 256 << 20
    disk_bytes: int = 1 << 30
    open_files: int = 1024

    def of_a_process(self, grouped: bool) -> dict[str, int]:
        """The limits that the container's first process sets, by the names of `resource`.

        Args:
            grouped: a control group limits memory and processes.
        """
        rows = {"FSIZE": self.file_bytes, "NOFILE": self.open_files, "CORE": 0}
        return rows if grouped else {**rows, "AS": self.memory_bytes, "NPROC": self.processes}


@lru_cache(maxsize=1)
def missing() -> str:
    """Why there can be no sandbox on this machine, and what to do about it; empty when there can."""
    if sys.platform != "linux":
        return "The sandbox needs Linux with bubblewrap."
    if shutil.which("bwrap") is None:
        return f"There is no sandbox: bwrap is not installed. {INSTALL_HINT}."
    if old := _too_old():
        return old
    if os.geteuid() == 0 and not cgroup.available():
        # RLIMIT_NPROC does not hold for root, in a user namespace neither.
        return (
            "There is no sandbox: root needs a writable control group to limit processes. "
            "Run the pool as an ordinary user, or make the pids and memory groups writable."
        )
    return _refused()


def _too_old() -> str:
    """Why this bubblewrap does not do; empty when it does, or does not tell its version."""
    try:
        command = ["bwrap", "--version"]
        told = subprocess.run(command, capture_output=True, timeout=TRY_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    numbers = re.search(rb"(\d+)\.(\d+)[.\d]*", told.stdout)
    if numbers is None or (int(numbers[1]), int(numbers[2])) >= _VERSION:
        return ""
    # It has no --disable-userns.
    return (
        f"There is no sandbox: bubblewrap is {numbers[0].decode()}, and version 0.8 or later is needed "
        "(Debian 12 and Ubuntu 24.04 have it)."
    )


def _refused() -> str:
    """Why bubblewrap does not start here; empty when it does."""
    try:
        command = ["bwrap", "--ro-bind", "/", "/", *_NAMESPACES, "--unshare-net", "--", "true"]
        tried = subprocess.run(command, capture_output=True, timeout=TRY_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"There is no sandbox: bwrap does not start ({type(error).__name__})."
    if tried.returncode == 0:
        return ""
    said = tried.stderr.decode("utf-8", "replace").strip()[-300:]
    return f"There is no sandbox: bwrap does not start, most likely because user namespaces are restricted ({said})."


def arguments(programs: Sequence[str], limits: Limits, network: bool) -> list[str]:
    """bubblewrap's options, without the command that it runs; its root is still writable, for further files.

    Args:
        programs: interpreters that have to be there, wherever they are installed.
        limits: sizes of the directories.
        network: share the host's network.

    Raises:
        ValueError: as `installed` does.
    """
    small = str(limits.disk_bytes // 4)
    options = [*_NAMESPACES, "--die-with-parent", "--new-session", "--clearenv", "--hostname", "session"]
    options += ["--uid", "1000", "--gid", "1000"]
    if not network:
        options.append("--unshare-net")
    for path in _SYSTEM:
        options += ["--ro-bind-try", path, path]
    for name in (*_SETTINGS, *(_NETWORK_SETTINGS if network else ())):
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    options += ["--proc", "/proc", "--dev", "/dev"]
    for path in ("/dev/shm", "/tmp", HOME, "/var/tmp"):  # noqa: S108  # inside the sandbox
        options += ["--size", small, "--tmpfs", path]
    options += ["--size", str(limits.disk_bytes), "--tmpfs", DATA, "--size", str(_SOCKETS_BYTES), "--tmpfs", SOCKETS]
    # After the directories above, which would hide an interpreter that is installed below one of them.
    options += installed(programs)
    # Started by root, the sandbox's user is the host's root under another name: in a writable /proc it could set
    # kernel.core_pattern, and with it run programs on the host.
    return [*options, "--remount-ro", "/proc", "--remount-ro", "/dev", "--chdir", HOME]


def accounts() -> Iterator[tuple[str, str]]:
    """Files of the sandbox by path: without them a program does not find its own user's name."""
    yield "/etc/passwd", _ACCOUNT
    yield "/etc/group", _GROUP


def installed(programs: Sequence[str]) -> list[str]:
    """bubblewrap's options that make interpreters' installations visible, the system's directories left out.

    Args:
        programs: paths or names of interpreters; of one that is not there, nothing is made visible.

    Raises:
        ValueError: an interpreter is installed where everything of its user would become visible with it.
    """
    needed: list[Path] = []
    links: dict[str, str] = {}
    for program in programs:
        found = shutil.which(program)
        if found is None:
            continue
        *hops, last = _hops(found)
        for hop in hops:
            # A virtual environment's interpreter is a link. Beside any other link there may be anything.
            if (hop.parent.parent / "pyvenv.cfg").exists():
                needed.append(hop)
            else:
                links[str(hop)] = str(last)
        needed += [last, last.resolve()]
    folders = list(dict.fromkeys(_prefix(path) for path in needed if not _below(str(path), _SYSTEM)))
    options = [option for folder in folders for option in ("--ro-bind", folder, folder)]
    for link, target in links.items():
        if not _below(link, (*_SYSTEM, _LINKS, *folders)):
            options += ["--symlink", target, link]
    return options


def _hops(program: str) -> list[Path]:
    """A path and those that it leads to, one link after another."""
    hops = [Path(os.path.abspath(program))]
    while hops[-1].is_symlink():
        hops.append(Path(os.path.normpath(hops[-1].parent / os.readlink(hops[-1]))))
    return hops


def _prefix(interpreter: Path) -> str:
    prefix = interpreter.parent.parent
    home = Path(os.path.expanduser("~")).resolve()
    real = prefix.resolve()
    if real in (home, home / ".local", *home.parents) or real.parent == Path("/home"):
        raise ValueError(
            f"There can be no sandbox with {interpreter}: all of {prefix} would be visible in it. "
            "Install the interpreter in a directory of its own, and put a link to it there."
        )
    return str(prefix)


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)
