"""Control groups of version 2, in a directory that behaves as the kernel's documentation says; not the kernel."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.session_pool import cgroup
from local.session_pool.cgroup import ControlGroup

LEAF = "session-pool-emulator"


class Hierarchy:
    """A mount of version 2, with one process in one group.

    Attributes:
        own: the group that the emulator is started in.
        neighbours: other processes in that group.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, swap: bool = True) -> None:
        self.mount, self.listed = folder / "cgroup", folder / "self"
        self.own = self.mount / "pool.service"
        self.neighbours: set[str] = set()
        self._swap = swap
        self._write, self._mkdir = Path.write_text, Path.mkdir
        monkeypatch.setattr(cgroup, "MOUNT", self.mount)
        monkeypatch.setattr(cgroup, "OWN_GROUPS", self.listed)
        for group in (self.mount, self.own):
            self._make(group)
        self._write(self.mount / "cgroup.controllers", "cpu memory pids")
        self._move(self.own)
        monkeypatch.setattr(Path, "write_text", lambda path, *rest: self._written(path, *rest))  # noqa: PLW0108  # passes the path
        monkeypatch.setattr(Path, "mkdir", lambda path, **options: self._make(path, **options))  # noqa: PLW0108  # as above
        monkeypatch.setattr(Path, "rmdir", shutil.rmtree)

    @property
    def emulators(self) -> Path:
        """The group that the emulator is in."""
        return self.mount / self.listed.read_text("ascii").strip().removeprefix("0::/")

    def _move(self, group: Path) -> None:
        self._write(self.listed, f"0::/{group.relative_to(self.mount)}\n")

    def _make(self, group: Path, exist_ok: bool = False) -> None:
        self._mkdir(group, exist_ok=exist_ok)
        for name in ("cgroup.subtree_control", "cgroup.procs", *(["memory.swap.max"] if self._swap else [])):
            (group / name).touch()

    def _written(self, path: Path, text: str, encoding: str) -> int:
        if path.name == "cgroup.procs" and text == str(os.getpid()):
            self._move(path.parent)
        if path.name == "cgroup.subtree_control" and (path.parent == self.emulators or self.neighbours):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        kept = text.replace("+", "") if path.name == "cgroup.subtree_control" else text
        return self._write(path, kept, encoding)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    cgroup.available.cache_clear()
    yield
    cgroup.available.cache_clear()


def test_emulator_leaves_its_group_before_that_passes_controllers_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch)
    assert cgroup.available()
    assert hierarchy.emulators == hierarchy.own / LEAF
    assert (hierarchy.own / "cgroup.subtree_control").read_text("ascii") == "pids memory"
    # The probe is gone, and what the emulator lives in has stayed.
    assert {path.name for path in hierarchy.own.iterdir() if path.is_dir()} == {LEAF}


def test_groups_of_containers_lie_beside_the_emulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch)
    groups = [ControlGroup(name, memory_bytes=5 << 20, processes=6) for name in ("first", "second")]
    for name, group in zip(("first", "second"), groups, strict=True):
        group.take(4711)
        folder = hierarchy.own / f"session-pool-{os.getpid()}-{name}"
        told = {file: (folder / file).read_text("ascii") for file in ("pids.max", "memory.max", "cgroup.procs")}
        assert told == {"pids.max": "6", "memory.max": str(5 << 20), "cgroup.procs": "4711"}
        assert (folder / "memory.swap.max").read_text("ascii") == "0"
        group.remove()
        assert not folder.exists()
    assert hierarchy.emulators == hierarchy.own / LEAF


def test_kernel_without_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch, swap=False)
    group = ControlGroup("first", memory_bytes=5 << 20, processes=6)
    assert not (hierarchy.own / f"session-pool-{os.getpid()}-first" / "memory.swap.max").exists()
    group.remove()


def test_group_that_others_are_in_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy = Hierarchy(tmp_path, monkeypatch)
    hierarchy.neighbours.add("4711")
    assert not cgroup.available()


def test_group_that_passes_the_controllers_on_already_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The root of the hierarchy, which alone may have processes then.
    hierarchy = Hierarchy(tmp_path, monkeypatch)
    with (hierarchy.own / "cgroup.subtree_control").open("w", encoding="ascii") as file:
        file.write("cpu memory pids")
    assert cgroup.available()
    assert hierarchy.emulators == hierarchy.own
