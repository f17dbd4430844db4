"""What runs on this machine: for tests that look whether something is left behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

BOUND_SECONDS = 30


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _processes():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def family(pids: Iterable[int]) -> set[int]:
    """These processes and all below them: what one part or stack of a test has started, and nothing of another's."""
    return {member for pid in pids for member in (pid, *descendants(pid))}


def all_gone(pids: Iterable[int]) -> bool:
    """Whether these processes end within the bound; a zombie that nobody waits for counts as gone."""
    watched = set(pids)
    deadline = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < deadline:
        if not watched & {pid for pid, _, state in _processes() if not state.startswith("Z")}:
            return True
    return False


def _processes() -> Iterator[tuple[int, int, str]]:
    """Process id, its parent's and its state."""
    proc = Path("/proc/self/stat")
    # Small Linux images have no ps, other systems no /proc.
    yield from _from_proc() if proc.exists() else _from_ps()


def _from_proc() -> Iterator[tuple[int, int, str]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The second field, the program's name in parentheses, may hold spaces.
        state, parent = text.rpartition(")")[2].split()[:2]
        yield int(path.parent.name), int(parent), state


def _from_ps() -> Iterator[tuple[int, int, str]]:
    for line in subprocess.check_output(["ps", "-axo", "pid=,ppid=,stat="], text=True).splitlines():
        pid, parent, state = line.split()
        yield int(pid), int(parent), state
