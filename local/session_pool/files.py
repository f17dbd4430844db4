"""A session's files, below one directory and never outside it.

Code in a session can place symbolic links there. Every component of a path is therefore opened relative to
its parent without following links.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from local.session_pool import errors

FILE_BYTES_MAX = 128 * 1024 * 1024
LISTED_MAX = 10_000
DEPTH_MAX = 20
_NAME = re.compile(r"[\w\- .@$&=;,#%^()]{1,255}")
_COPY_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Its container has been stopped since the session was looked up.
_GONE = (errno.EBADF, errno.ENOENT)


@dataclass(frozen=True)
class FileInfo:
    """One entry of a session's directory.

    Attributes:
        name: without a path.
        directory: below /mnt/data, empty for the root.
        is_directory: a directory rather than a file.
        size_bytes: its size.
        modified_at: seconds since the epoch.
    """

    name: str
    directory: str
    is_directory: bool
    size_bytes: int
    modified_at: float

    @property
    def content_type(self) -> str:
        """Guessed from the name."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


class SessionFiles:
    """The files of one session.

    Args:
        open_root: gives a descriptor of the directory behind /mnt/data, which is closed after use.
    """

    def __init__(self, open_root: Callable[[], int]) -> None:
        self._open_root = open_root

    def listing(self, directory: str, recursive: bool) -> list[FileInfo]:
        """What is in a directory, by name; links and special files are left out.

        Raises:
            Refusal: the path is not allowed, or is no directory.
        """
        parts = _parts(directory)
        found: list[FileInfo] = []
        with self._opened(parts) as handle:
            self._collect(handle, "/".join(parts), DEPTH_MAX if recursive else 0, found)
        return sorted(found, key=lambda info: (info.directory, info.name))

    def info(self, directory: str, name: str) -> FileInfo:
        """One file.

        Raises:
            Refusal: the path is not allowed, or there is no such file.
        """
        with self.open(directory, name) as file:
            return _info(name, "/".join(_parts(directory)), os.fstat(file.fileno()))

    def open(self, directory: str, name: str) -> BinaryIO:
        """A file for reading; the caller closes it.

        Raises:
            Refusal: the path is not allowed, or there is no such file.
        """
        with self._opened(_parts(directory)) as handle:
            try:
                file = os.open(_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
            except OSError:
                raise errors.file_not_found() from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise errors.file_not_found()
        return os.fdopen(file, "rb")

    def write(self, directory: str, name: str, source: BinaryIO) -> FileInfo:
        """Stores a file; one of that name is replaced as a whole.

        Raises:
            Refusal: the path is not allowed, the file is larger than 128 MB, or the session has no room for it.
        """
        target_name = _name(name)
        with self._opened(_parts(directory), create=True) as handle:
            part = f".upload-{os.urandom(8).hex()}"
            target = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=handle)
            try:
                with os.fdopen(target, "wb") as sink:
                    _copy(source, sink)
                os.replace(part, target_name, src_dir_fd=handle, dst_dir_fd=handle)
            except BaseException:
                os.unlink(part, dir_fd=handle)
                raise
        return self.info(directory, name)

    def delete(self, directory: str, name: str) -> None:
        """Deletes a file, or the link of that name.

        Raises:
            Refusal: the path is not allowed, or there is no such file.
        """
        with self._opened(_parts(directory)) as handle:
            try:
                os.unlink(_name(name), dir_fd=handle)
            except OSError:
                raise errors.file_not_deleted() from None

    @contextmanager
    def _opened(self, parts: list[str], create: bool = False) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            handle = self._open_root()
        except OSError as error:
            raise errors.no_session() if error.errno in _GONE else errors.path_invalid() from error
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                inner = os.open(part, flags, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        except (FileNotFoundError, NotADirectoryError):
            raise errors.file_not_found() from None
        except OSError as error:
            raise errors.disk_full() if error.errno in _FULL else errors.path_invalid() from error
        finally:
            os.close(handle)

    def _collect(self, handle: int, directory: str, depth: int, found: list[FileInfo]) -> None:
        for name in os.listdir(handle):
            if len(found) >= LISTED_MAX or name.startswith(".upload-"):
                continue
            try:
                state = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode):
                    found.append(_info(name, directory, state))
                if depth and stat.S_ISDIR(state.st_mode):
                    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                    try:
                        self._collect(inner, f"{directory}/{name}".lstrip("/"), depth - 1, found)
                    finally:
                        os.close(inner)
            except FileNotFoundError:
                # Running code deletes what we are about to look at.
                continue


def _info(name: str, directory: str, state: os.stat_result) -> FileInfo:
    is_directory = stat.S_ISDIR(state.st_mode)
    return FileInfo(name, directory, is_directory, 0 if is_directory else state.st_size, state.st_mtime)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or not name.strip(". "):
        raise errors.path_invalid()
    return name


def _parts(directory: str) -> list[str]:
    path = directory.strip().strip("/")
    path = path.removeprefix("mnt/data").strip("/") if re.match(r"mnt/data(/|$)", path) else path
    parts = [part for part in path.split("/") if part not in ("", ".")]
    # The service allows no dot in a directory's name, hence no `..` either.
    if len(parts) > DEPTH_MAX or any("." in part or not _NAME.fullmatch(part) for part in parts):
        raise errors.path_invalid()
    return parts


def _copy(source: BinaryIO, sink: BinaryIO) -> None:
    size = 0
    while chunk := source.read(_COPY_BYTES):
        size += len(chunk)
        if size > FILE_BYTES_MAX:
            raise errors.too_large()
        sink.write(chunk)
