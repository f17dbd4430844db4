"""One queue on a real Azurite, which another client uses too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from local.azurite import connection_string
from local.functions_host.queue_settings import Connection
from local.functions_host.queue_storage import Message, MessageGone, StorageFailed, StorageQueue
from tests.local.functions_host.queues import Queue
from tests.scripted_server import Answer, scripted_server


@pytest.fixture
def queue(azurite: str) -> Queue:
    return Queue(azurite)


@pytest.fixture
def storage(queue: Queue) -> Iterator[StorageQueue]:
    with closing(StorageQueue(Connection(queue.connection), queue.name)) as opened:
        yield opened


@pytest.fixture
def message(queue: Queue, storage: StorageQueue) -> Message:
    """One that was fetched and, before anything else is done to it, fetched by another client."""
    queue.put("wanted by two")
    (fetched,) = storage.fetch(1, 60)
    assert storage.hide(fetched, 0).id == fetched.id
    other = queue.client.receive_message(visibility_timeout=60)
    assert other is not None
    assert other.id == fetched.id
    return fetched


def test_message_that_another_one_has_fetched_is_gone(queue: Queue, storage: StorageQueue, message: Message) -> None:
    with pytest.raises(MessageGone):
        storage.hide(message, 60)
    with pytest.raises(MessageGone):
        storage.delete(message)
    assert queue.count == 1


def test_message_that_another_one_has_deleted_is_gone(queue: Queue, storage: StorageQueue, message: Message) -> None:
    queue.client.clear_messages()
    with pytest.raises(MessageGone):
        storage.hide(message, 60)
    storage.delete(message)


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b""), Answer(200, b"<", {"Content-Type": "application/xml"}), Answer(500, b"<"), Answer(hang_up=True)],
)
def test_broken_answer_is_a_failure_whatever_was_asked(answer: Answer, message: Message) -> None:
    with scripted_server(lambda number, request: answer) as server:
        own = connection_string(10000).replace(":10001", f":{server.url.rpartition(':')[2]}")
        with closing(StorageQueue(Connection(own), "any")) as broken:
            for change in (
                lambda: broken.fetch(1, 60),
                lambda: broken.hide(message, 60),
                lambda: broken.copy_to_poison(message),
            ):
                with pytest.raises(StorageFailed) as caught:
                    change()
                assert "127.0.0.1" not in str(caught.value)
