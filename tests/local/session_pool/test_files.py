"""A session's files: names, directories, and links that code in the session has placed."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.session_pool import files
from local.session_pool.errors import Refusal
from local.session_pool.files import SessionFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret", "utf-8")
    return root


def files_of(root: Path) -> SessionFiles:
    """The files below a directory that is made anew where it is missing, as a container without a sandbox does."""

    def open_root() -> int:
        root.mkdir(exist_ok=True)
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    return SessionFiles(open_root)


def content(stored: SessionFiles, directory: str, name: str) -> bytes:
    with stored.open(directory, name) as file:
        return file.read()


def test_written_file_is_listed_read_and_deleted(root: Path) -> None:
    stored = files_of(root)
    info = stored.write("", "a b.csv", io.BytesIO(b"1,2"))
    assert (info.name, info.size_bytes, info.content_type, info.is_directory) == ("a b.csv", 3, "text/csv", False)
    assert stored.listing("", False) == [info]
    assert content(stored, "/mnt/data", "a b.csv") == b"1,2"
    stored.delete("", "a b.csv")
    assert stored.listing("", False) == []
    with pytest.raises(Refusal) as refusal:
        stored.info("", "a b.csv")
    assert refusal.value.status == 404


def test_file_of_the_same_name_is_replaced_as_a_whole(root: Path) -> None:
    stored = files_of(root)
    stored.write("", "x.txt", io.BytesIO(b"a long text"))
    stored.write("", "x.txt", io.BytesIO(b"short"))
    assert content(stored, "", "x.txt") == b"short"
    assert os.listdir(root) == ["x.txt"]


def test_upload_makes_directories_and_the_list_is_recursive_when_asked(root: Path) -> None:
    stored = files_of(root)
    stored.write("in/deep", "x.txt", io.BytesIO(b"x"))
    assert [(info.directory, info.name) for info in stored.listing("", False)] == [("", "in")]
    assert [(info.directory, info.name) for info in stored.listing("/", True)] == [
        ("", "in"),
        ("in", "deep"),
        ("in/deep", "x.txt"),
    ]
    assert [info.name for info in stored.listing("/mnt/data/in/deep", False)] == ["x.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "../x", "a\\b", "a\0b", "a\nb", "a:b", "x" * 256])
def test_reserved_names_are_refused(root: Path, name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        files_of(root).write("", name, io.BytesIO(b"x"))
    assert (refusal.value.status, refusal.value.code) == (400, "FilePathInvalid")
    assert os.listdir(root) == []


@pytest.mark.parametrize("directory", ["..", "/mnt/data/../outside", "a/../..", "a.b", "a\0", "/".join("a" * 21)])
def test_reserved_directories_are_refused(root: Path, directory: str) -> None:
    with pytest.raises(Refusal) as refusal:
        files_of(root).write(directory, "x.txt", io.BytesIO(b"x"))
    assert refusal.value.status == 400
    assert os.listdir(root) == []


def test_links_are_not_followed(root: Path) -> None:
    stored = files_of(root)
    outside = root.parent / "outside"
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    assert stored.listing("", True) == []
    for directory, name in (("", "link.txt"), ("folder", "secret.txt")):
        with pytest.raises(Refusal):
            stored.open(directory, name)
    with pytest.raises(Refusal):
        stored.write("folder", "new.txt", io.BytesIO(b"x"))
    stored.write("", "link.txt", io.BytesIO(b"mine"))
    assert content(stored, "", "link.txt") == b"mine"
    stored.delete("", "folder")
    assert (outside / "secret.txt").read_text("utf-8") == "secret"
    assert os.listdir(outside) == ["secret.txt"]


def test_special_file_does_not_block(root: Path) -> None:
    os.mkfifo(root / "pipe")
    stored = files_of(root)
    assert stored.listing("", True) == []
    with pytest.raises(Refusal) as refusal:
        stored.open("", "pipe")
    assert refusal.value.status == 404


def test_too_large_file_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 10)
    with pytest.raises(Refusal) as refusal:
        files_of(root).write("", "x.bin", io.BytesIO(b"x" * 11))
    assert refusal.value.status == 413
    assert os.listdir(root) == []


class Failing(io.BytesIO):
    """Content in the midst of which the disk is full."""

    def __init__(self, number: int) -> None:
        super().__init__(b"x")
        self._number = number

    def read(self, size: int | None = -1, /) -> bytes:
        if chunk := super().read(size):
            return chunk
        raise OSError(self._number, "no room")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_said_and_leaves_nothing(root: Path, number: int) -> None:
    with pytest.raises(Refusal) as refusal:
        files_of(root).write("", "x.bin", Failing(number))
    assert (refusal.value.status, refusal.value.code) == (507, "InsufficientStorage")
    assert os.listdir(root) == []


def test_files_of_a_stopped_container_are_gone() -> None:
    def open_root() -> int:
        raise OSError(errno.EBADF, "closed")

    with pytest.raises(Refusal) as refusal:
        SessionFiles(open_root).listing("", False)
    assert (refusal.value.status, refusal.value.code) == (404, "NoSessionFoundError")


def test_directory_is_no_file_to_replace_or_delete(root: Path) -> None:
    stored = files_of(root)
    stored.write("sub", "x.txt", io.BytesIO(b"x"))
    for call in (lambda: stored.write("", "sub", io.BytesIO(b"x")), lambda: stored.delete("", "sub")):
        with pytest.raises(Refusal):
            call()
    assert content(stored, "sub", "x.txt") == b"x"
    assert os.listdir(root) == ["sub"]


def test_files_can_be_stored_after_code_removed_the_directory(root: Path) -> None:
    root.rmdir()
    stored = files_of(root)
    assert stored.listing("", False) == []
    stored.write("", "x.txt", io.BytesIO(b"x"))
    assert content(stored, "", "x.txt") == b"x"


def test_link_in_place_of_the_root_is_refused(root: Path) -> None:
    root.rmdir()
    root.symlink_to(root.parent / "outside")
    with pytest.raises(Refusal):
        files_of(root).listing("", False)


@given(directory=st.text(max_size=40), name=st.text(max_size=300))
def test_any_name_is_stored_or_refused(tmp_path_factory: pytest.TempPathFactory, directory: str, name: str) -> None:
    root = tmp_path_factory.mktemp("any")
    stored = files_of(root)
    status = 0
    try:
        stored.write(directory, name, io.BytesIO(b"x"))
    except Refusal as refusal:
        status = refusal.status
    assert status in (400, 404) or content(stored, directory, name) == b"x"
