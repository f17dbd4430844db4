"""What a chat leaves behind for its caller: pictures and files, within limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.aca_sessions_executor import ACASessionsExecutor
from shared.deadline import Deadline
from shared.errors import DeadlineReached, ServiceError
from shared.session_wire import Picture, SessionFile
from shared.settings import Settings

# A browser and a mail program show these; other images are files like any other.
PICTURE_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
FILES_LISTED_MAX = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShownPicture:
    """A picture and the name under which people find it."""

    name: str
    picture: Picture


@dataclass(frozen=True)
class MadeFile:
    """A file that the chat created or changed.

    Attributes:
        file: as the session lists it.
        content: its bytes where it is small enough to come along, else None.
    """

    file: SessionFile
    content: bytes | None = None


@dataclass(frozen=True)
class Harvest:
    """What a chat made.

    Attributes:
        pictures: results of executions first, then picture files.
        files: created or changed files.
        warnings: what is missing here, and why.
    """

    pictures: tuple[ShownPicture, ...] = ()
    files: tuple[MadeFile, ...] = ()
    warnings: tuple[str, ...] = ()


def baseline(executor: ACASessionsExecutor, resumed: bool) -> dict[str, SessionFile]:
    """The session's files before the chat, by path; asking starts no session.

    Args:
        executor: of the session.
        resumed: whether the session may have files from before.

    Raises:
        PoolError: the pool failed or refused.
        DeadlineReached: the deadline has passed.
    """
    if not resumed or not executor.session_exists():
        return {}
    return {file.path: file for file in executor.list_files()}


def gather(
    executor: ACASessionsExecutor,
    before: Mapping[str, SessionFile],
    provided: Mapping[str, bytes],
    shown: Sequence[ShownPicture],
    settings: Settings,
    deadline: Deadline,
) -> Harvest:
    """Lists what is new in the session and fetches pictures and small files.

    The answer does not depend on it: what cannot be fetched is a warning.

    Args:
        executor: of the session.
        before: what `baseline` found.
        provided: files that the caller sent; unchanged, they are not new.
        shown: pictures that executions returned.
        settings: the limits.
        deadline: bounds all calls together.
    """
    basket = _Basket(executor, settings, deadline)
    for picture in shown:
        basket.add_picture(picture)
    if not executor.started:
        return basket.harvest()
    try:
        listed = executor.list_files(deadline=deadline)
    except (ServiceError, DeadlineReached) as error:
        _log.warning("The session's files could not be listed: %s", type(error).__name__)
        basket.warnings.append("The files that the chat made could not be listed.")
        return basket.harvest()
    made = [file for file in listed if _is_new(file, before, provided)]
    if len(made) > FILES_LISTED_MAX:
        basket.warnings.append(f"The chat made {len(made)} files; the first {FILES_LISTED_MAX} are listed.")
    for file in made[:FILES_LISTED_MAX]:
        basket.add_file(file)
    return basket.harvest()


class _Basket:
    """Collects within the limits of a reply."""

    def __init__(self, executor: ACASessionsExecutor, settings: Settings, deadline: Deadline) -> None:
        self.pictures: list[ShownPicture] = []
        self.files: list[MadeFile] = []
        self.warnings: list[str] = []
        self._executor = executor
        self._deadline = deadline
        self._picture_bytes_left = settings.chat_max_picture_bytes
        self._pictures_left = settings.chat_max_pictures
        self._file_bytes_left = settings.chat_max_inline_file_bytes

    def harvest(self) -> Harvest:
        return Harvest(tuple(self.pictures), tuple(self.files), tuple(self.warnings))

    def add_picture(self, shown: ShownPicture) -> None:
        if not self._room_for_picture(len(shown.picture.data)):
            self.warnings.append(f"{shown.name} is left out: the reply has its most pictures or bytes of pictures.")
            return
        self._pictures_left -= 1
        self._picture_bytes_left -= len(shown.picture.data)
        self.pictures.append(shown)

    def add_file(self, file: SessionFile) -> None:
        kind = PICTURE_TYPES.get("." + file.path.rpartition(".")[2].lower())
        content = None
        if kind and self._room_for_picture(file.size_bytes):
            data = self._fetch(file)
            if data is not None:
                self.add_picture(ShownPicture(file.path, Picture(kind, data)))
        elif file.size_bytes <= self._file_bytes_left:
            content = self._fetch(file)
            # The listing may be older than the file.
            if content is not None and len(content) > self._file_bytes_left:
                content = None
            self._file_bytes_left -= len(content or b"")
        self.files.append(MadeFile(file, content))

    def _room_for_picture(self, size: int) -> bool:
        return self._pictures_left > 0 and size <= self._picture_bytes_left

    def _fetch(self, file: SessionFile) -> bytes | None:
        try:
            return self._executor.download_file(file.path, deadline=self._deadline)
        except (ServiceError, DeadlineReached) as error:
            _log.warning("A file of the session could not be fetched: %s", type(error).__name__)
            self.warnings.append(f"{file.path} could not be fetched.")
            return None


def _is_new(file: SessionFile, before: Mapping[str, SessionFile], provided: Mapping[str, bytes]) -> bool:
    if file.path in provided:
        # Its time is that of the upload, so only another size shows a change.
        return file.size_bytes != len(provided[file.path])
    return before.get(file.path) != file
