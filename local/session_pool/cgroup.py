"""Control groups: limits on all of a container's processes together, where this process may make groups.

Only root usually may. Version 1 (a hierarchy for each controller) was tried; version 2 is written by the kernel's
documentation (admin-guide/cgroup-v2) and not tried. There a group that has processes of its own passes no controllers
on. This process therefore moves into a group below the one that it was started in, and stays there; it has to have
been alone in it, as `systemd-run --scope -p Delegate=yes` makes sure.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
_PREFIX = "session-pool-"
_EMULATOR = "session-pool-emulator"
_GONE_SECONDS = 2.0


class ControlGroup:
    """The group of one container.

    Args:
        name: of the container, unique in this process.
        memory_bytes, processes: the limits.

    Raises:
        OSError: the group cannot be made.
    """

    def __init__(self, name: str, *, memory_bytes: int, processes: int) -> None:
        self._folders: list[Path] = []
        try:
            for parent, files in _controllers(memory_bytes, processes):
                folder = parent / f"{_PREFIX}{os.getpid()}-{name}"
                folder.mkdir()
                self._folders.append(folder)
                for file, value in files.items():
                    (folder / file).write_text(str(value), "ascii")
                swap = folder / "memory.swap.max"
                if swap.exists():
                    swap.write_text("0", "ascii")
        except OSError:
            self.remove()
            raise

    def take(self, pid: int) -> None:
        """Moves a process, and with it all that it will start, into the group."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid), "ascii")

    def remove(self) -> None:
        """Removes the group once its processes are gone; what is busy longer than two seconds is left."""
        until = time.monotonic() + _GONE_SECONDS
        for folder in self._folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.01)
        self._folders = []


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether this process may make groups; groups that killed processes have left are removed."""
    try:
        group = ControlGroup("probe", memory_bytes=1 << 30, processes=64)
    except OSError:
        return False
    group.remove()
    _remove_orphans()
    return True


def _controllers(memory_bytes: int, processes: int) -> Iterator[tuple[Path, Mapping[str, int]]]:
    own = _own_paths()
    if (MOUNT / "cgroup.controllers").exists():
        parent = _passing_on(MOUNT / own.get("", "").lstrip("/"))
        yield parent, {"pids.max": processes, "memory.max": memory_bytes}
        return
    yield MOUNT / "pids" / own.get("pids", "").lstrip("/"), {"pids.max": processes}
    yield MOUNT / "memory" / own.get("memory", "").lstrip("/"), {"memory.limit_in_bytes": memory_bytes}


def _passing_on(own: Path) -> Path:
    """The group below which others can be limited; this process leaves it where it is in it."""
    if own.name == _EMULATOR:
        return own.parent
    passed_on = own / "cgroup.subtree_control"
    if not {"pids", "memory"} <= set(passed_on.read_text("ascii").split()):
        leaf = own / _EMULATOR
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()), "ascii")
        passed_on.write_text("+pids +memory", "ascii")
    return own


def _own_paths() -> dict[str, str]:
    """This process's group in each hierarchy, by controller; the unified one is under the empty name."""
    paths = {}
    for line in OWN_GROUPS.read_text("ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _remove_orphans() -> None:
    for parent, _ in _controllers(1, 1):
        for folder in parent.glob(f"{_PREFIX}*"):
            pid = folder.name.removeprefix(_PREFIX).split("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
