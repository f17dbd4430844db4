"""What a chat leaves behind, within the limits of a reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from shared.deadline import Deadline
from shared.harvest import FILES_LISTED_MAX, Harvest, baseline, gather
from shared.pictures import PictureRoom, ShownPicture
from shared.session import Session
from shared.session_wire import Picture
from shared.settings import Settings
from tests.scripted_pool import Credential, Script, described, ended, listing, operations, scripted_pool, uploaded
from tests.scripted_server import Answer, Received, ScriptedServer


@contextmanager
def session(files: Mapping[str, bytes], **answers: Script) -> Iterator[tuple[Session, ScriptedServer]]:
    """A session that has run something and has these files."""

    def content(number: int, request: Received) -> Answer:
        return Answer(body=files[request.path.split("/")[-2]])

    rows = [described(name, len(data)) for name, data in files.items()]
    with scripted_pool(
        **{"POST_executions": ended(), "GET_files": listing(*rows), "GET_content": content, **answers}
    ) as server:
        own = Session(server.url + "/pool", credential=Credential())
        own.run("1")
        yield own, server


def gathered(
    own: Session,
    settings: Settings | None = None,
    shown: tuple[ShownPicture, ...] = (),
    deadline: Deadline | None = None,
) -> Harvest:
    settings = settings or Settings()
    room = PictureRoom(settings.chat_max_pictures, settings.chat_max_picture_bytes)
    return gather(own, {}, shown, room, settings, deadline or Deadline.after(30))


def test_pictures_come_as_pictures_and_small_files_with_their_content() -> None:
    with session({"a.png": b"png", "b.txt": b"text", "big.bin": b"x" * 100}) as (own, _):
        found = gathered(own, Settings(chat_max_inline_file_bytes=10))
    assert [(made.name, made.picture.data) for made in found.pictures] == [("a.png", b"png")]
    assert [(made.file.path, made.content) for made in found.files] == [
        ("a.png", None),
        ("b.txt", b"text"),
        ("big.bin", None),
    ]
    assert found.warnings == ()


def test_pictures_of_executions_that_had_no_room_are_named() -> None:
    shown = (ShownPicture("picture-1.png", Picture("image/png", b"x")), ShownPicture("picture-2.png", None))
    with session({}) as (own, _):
        found = gathered(own, shown=shown)
    assert [made.name for made in found.pictures] == ["picture-1.png"]
    assert ["picture-2.png is left out" in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize(("pictures", "size_bytes"), [(8, 4), (1, 100)])
def test_a_picture_file_over_the_limits_does_not_come_as_an_ordinary_file(pictures: int, size_bytes: int) -> None:
    with session({"a.png": b"1234", "b.png": b"56"}) as (own, server):
        found = gathered(own, Settings(chat_max_pictures=pictures, chat_max_picture_bytes=size_bytes))
    assert [made.name for made in found.pictures] == ["a.png"]
    assert [(made.file.path, made.content) for made in found.files] == [("a.png", None), ("b.png", None)]
    assert ["b.png is left out" in warning for warning in found.warnings] == [True]
    assert operations(server).count("GET content") == 1


@pytest.mark.parametrize("name", ["a.txt", "a.png"])
def test_a_file_that_grew_since_the_listing_is_left_out(name: str) -> None:
    with session({name: b"x" * 50}, GET_files=listing(described(name, 1))) as (own, _):
        found = gathered(own, Settings(chat_max_inline_file_bytes=10, chat_max_picture_bytes=10))
    assert found.pictures == ()
    assert [made.content for made in found.files] == [None]
    assert ["it grew" in warning for warning in found.warnings] == [True]


def test_the_list_of_files_is_bounded() -> None:
    files = {f"{number}.txt": b"" for number in range(FILES_LISTED_MAX + 1)}
    with session(files) as (own, _):
        found = gathered(own)
    assert len(found.files) == FILES_LISTED_MAX
    assert f"the first {FILES_LISTED_MAX} are listed" in found.warnings[0]


@pytest.mark.parametrize(("after", "new"), [((1, "a"), False), ((1, "b"), True), ((2, "a"), True)])
def test_a_file_that_the_caller_sent_is_new_once_it_has_changed(after: tuple[int, str], new: bool) -> None:
    changed = listing(described("a.csv", *after))
    with session({"a.csv": b"1"}, POST_files=uploaded("a.csv", 1, "a"), GET_files=changed) as (own, _):
        own.provide_files({"a.csv": b"1"})
        found = gathered(own)
    assert [made.file.path for made in found.files] == ["a.csv"] * new


def test_files_from_before_are_new_once_they_have_changed() -> None:
    with session(
        {"old": b"1", "new": b"1"},
        GET_session=Answer(),
        GET_files=[
            listing(described("same"), described("old", 1, "before")),
            listing(described("same"), described("old"), described("new")),
        ],
    ) as (own, _):
        before = baseline(own, resumed=True)
        found = gather(own, before, (), PictureRoom(0, 0), Settings(), Deadline.after(30))
    assert [made.file.path for made in found.files] == ["old", "new"]


def test_a_list_that_fails_is_a_warning_and_not_the_end_of_the_answer() -> None:
    with session({}, GET_files=Answer(403, b"")) as (own, _):
        assert "could not be listed" in gathered(own).warnings[0]


def test_a_file_that_cannot_be_fetched_is_a_warning() -> None:
    with session({"a": b"1", "b": b"2"}, GET_content=[Answer(403, b""), Answer(body=b"2")]) as (own, _):
        found = gathered(own)
    assert found.warnings == ("a could not be fetched.",)
    assert [made.content for made in found.files] == [None, b"2"]


class Clock:
    """Moves on as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spending(clock: Clock, seconds: float, answer: Answer) -> Callable[[int, Received], Answer]:
    def late(number: int, request: Received) -> Answer:
        clock.now += seconds
        return answer

    return late


def test_at_the_deadline_the_rest_is_listed_with_one_warning() -> None:
    clock = Clock()
    files = dict.fromkeys("abcdef", b"1")
    with session(files, GET_content=spending(clock, 4, Answer(body=b"1"))) as (own, server):
        found = gathered(own, deadline=Deadline.after(10, clock))
    assert [made.file.path for made in found.files] == list("abcdef")
    assert [made.content for made in found.files][:2] == [b"1", b"1"]
    assert [made.content for made in found.files][3:] == [None, None, None]
    assert len(found.warnings) == 1
    assert "no time to fetch" in found.warnings[0]
    assert operations(server).count("GET content") == 3


def test_a_new_session_is_not_asked_for_files() -> None:
    with scripted_pool() as server:
        own = Session(server.url, credential=Credential())
        assert baseline(own, resumed=False) == {}
        assert gathered(own) == Harvest()
    assert server.received == []


def test_a_session_that_is_gone_is_not_started_by_the_baseline() -> None:
    with session({}, GET_session=Answer(404, b"")) as (own, server):
        assert baseline(own, resumed=True) == {}
    assert operations(server) == ["POST executions", "GET session"]
