"""What a chat leaves behind, within the limits of a reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken

from shared.aca_sessions_executor import ACASessionsExecutor
from shared.deadline import Deadline
from shared.harvest import Harvest, ShownPicture, baseline, gather
from shared.session_wire import Picture
from shared.settings import Settings
from tests.scripted_server import Answer, Received, scripted_server


class Credential:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", 9_999_999_999)


@contextmanager
def session(files: dict[str, bytes], broken: bool = False) -> Iterator[ACASessionsExecutor]:
    """An executor that has run something in a session with these files."""

    def answer(number: int, request: Received) -> Answer:
        path = urlsplit(request.path).path
        if path.endswith("/executions"):
            return Answer(body=b'{"status": "Succeeded", "result": {}}')
        if path.endswith("/content"):
            return Answer(body=files[path.split("/")[-2]])
        if broken:
            return Answer(403, b"")
        rows = [{"name": name, "type": "file", "sizeInBytes": len(data)} for name, data in files.items()]
        return Answer(body=json.dumps({"value": rows}).encode())

    with scripted_server(answer) as server:
        executor = ACASessionsExecutor(server.url, credential=Credential())
        executor.run("1")
        yield executor


def harvest(
    executor: ACASessionsExecutor, settings: Settings, shown: tuple[ShownPicture, ...] = (), **provided: bytes
) -> Harvest:
    return gather(executor, {}, provided, shown, settings, Deadline.after(30))


def test_pictures_come_as_pictures_and_small_files_with_their_content() -> None:
    with session({"a.png": b"png", "b.txt": b"text", "big.bin": b"x" * 100}) as executor:
        found = harvest(executor, Settings(chat_max_inline_file_bytes=10))
    assert [(shown.name, shown.picture.data) for shown in found.pictures] == [("a.png", b"png")]
    assert [(made.file.path, made.content) for made in found.files] == [
        ("a.png", None),
        ("b.txt", b"text"),
        ("big.bin", None),
    ]
    assert found.warnings == ()


def test_pictures_over_the_limit_are_left_out_and_named() -> None:
    shown = tuple(ShownPicture(f"picture-{n}.png", Picture("image/png", b"x" * 4)) for n in range(3))
    with session({}) as executor:
        found = harvest(executor, Settings(chat_max_pictures=5, chat_max_picture_bytes=10), shown)
    assert [picture.name for picture in found.pictures] == ["picture-0.png", "picture-1.png"]
    assert "picture-2.png is left out" in found.warnings[0]


def test_files_that_the_caller_sent_are_not_new_unless_changed() -> None:
    with session({"same.csv": b"1", "changed.csv": b"longer"}) as executor:
        found = gather(executor, {}, {"same.csv": b"1", "changed.csv": b"1"}, (), Settings(), Deadline.after(30))
    assert [made.file.path for made in found.files] == ["changed.csv"]


def test_a_list_that_fails_is_a_warning_and_not_the_end_of_the_answer() -> None:
    with session({}, broken=True) as executor:
        assert "could not be listed" in harvest(executor, Settings()).warnings[0]


def test_a_new_session_is_not_asked_for_files() -> None:
    with session({"a.txt": b"1"}) as executor:
        assert baseline(executor, resumed=False) == {}
