"""What a chat leaves behind for its caller: pictures and files, within limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.deadline import Deadline
from shared.errors import DeadlineReached, PoolLimitExceeded, ServiceError
from shared.pictures import PictureRoom, ShownPicture
from shared.session import Session
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
class MadePicture:
    """A picture that the chat made and the name under which people find it."""

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

    pictures: tuple[MadePicture, ...] = ()
    files: tuple[MadeFile, ...] = ()
    warnings: tuple[str, ...] = ()


def baseline(session: Session, resumed: bool) -> dict[str, SessionFile]:
    """The session's files before the chat, by path; a session that is gone has none, and its notes say so.

    Args:
        session: of the chat.
        resumed: whether the session may have files from before.

    Raises:
        PoolError: the pool failed or refused.
        DeadlineReached: the deadline has passed.
    """
    if not resumed or not session.resume():
        return {}
    return {file.path: file for file in session.list_files()}


def gather(
    session: Session,
    before: Mapping[str, SessionFile],
    shown: Sequence[ShownPicture],
    room: PictureRoom,
    settings: Settings,
    deadline: Deadline,
) -> Harvest:
    """Lists what is new in the session and fetches pictures and small files.

    The answer does not depend on it: what cannot be fetched is a warning.

    Args:
        session: of the chat.
        before: what `baseline` found.
        shown: pictures that executions returned.
        room: what those pictures have left for picture files.
        settings: the limits.
        deadline: bounds all calls together.
    """
    basket = _Basket(session, room, settings, deadline)
    for picture in shown:
        basket.add_picture(picture)
    if not session.started:
        return basket.harvest()
    try:
        listed = session.list_files(deadline=deadline)
    except (ServiceError, DeadlineReached) as error:
        _log.warning("The session's files could not be listed: %s", type(error).__name__)
        basket.warnings.append("The files that the chat made could not be listed.")
        return basket.harvest()
    known = {**before, **session.provided_files}
    made = [file for file in listed if _is_new(file, known.get(file.path))]
    if len(made) > FILES_LISTED_MAX:
        basket.warnings.append(f"The chat made {len(made)} files; the first {FILES_LISTED_MAX} are listed.")
    for file in made[:FILES_LISTED_MAX]:
        basket.add_file(file)
    return basket.harvest()


class _Basket:
    """Collects within the limits of a reply."""

    def __init__(self, session: Session, room: PictureRoom, settings: Settings, deadline: Deadline) -> None:
        self.pictures: list[MadePicture] = []
        self.files: list[MadeFile] = []
        self.warnings: list[str] = []
        self._session = session
        self._room = room
        self._deadline = deadline
        self._late = False
        self._file_bytes_left = settings.chat_max_inline_file_bytes

    def harvest(self) -> Harvest:
        return Harvest(tuple(self.pictures), tuple(self.files), tuple(self.warnings))

    def add_picture(self, shown: ShownPicture) -> None:
        if shown.picture is None:
            self._leave_out(shown.name)
        else:
            self.pictures.append(MadePicture(shown.name, shown.picture))

    def add_file(self, file: SessionFile) -> None:
        kind = PICTURE_TYPES.get("." + file.path.rpartition(".")[2].lower())
        content = None
        if kind:
            self._add_picture_file(file, kind)
        elif file.size_bytes <= self._file_bytes_left:
            content = self._fetch(file, self._file_bytes_left)
            self._file_bytes_left -= len(content or b"")
        self.files.append(MadeFile(file, content))

    def _add_picture_file(self, file: SessionFile, kind: str) -> None:
        if not self._room.takes(file.size_bytes):
            self._leave_out(file.path)
            return
        data = self._fetch(file, self._room.bytes_left)
        if data is not None:
            self.add_picture(self._room.show(file.path, Picture(kind, data)))

    def _leave_out(self, name: str) -> None:
        self.warnings.append(f"{name} is left out: the reply has its most pictures or bytes of pictures.")

    def _fetch(self, file: SessionFile, limit_bytes: int) -> bytes | None:
        if self._late:
            return None
        try:
            return self._session.download_file(file.path, deadline=self._deadline, limit_bytes=limit_bytes)
        except DeadlineReached:
            self._late = True
            self.warnings.append(f"There was no time to fetch {file.path} and what is listed after it.")
        except PoolLimitExceeded:
            self.warnings.append(f"{file.path} is left out: it grew while it was fetched.")
        except ServiceError as error:
            _log.warning("A file of the session could not be fetched: %s", type(error).__name__)
            self.warnings.append(f"{file.path} could not be fetched.")
        return None


def _is_new(file: SessionFile, known: SessionFile | None) -> bool:
    return known is None or (file.size_bytes, file.modified_at) != (known.size_bytes, known.modified_at)
