"""A listener whose storage fails, or whose messages another client takes, on a real Azurite."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from azure.storage.queue import QueueMessage

from local.azurite import connection_string
from local.azurite.running import running_azurite
from local.functions_host.queue_settings import QueueOptions
from local.functions_host.queue_storage import Message, StorageFailed
from tests.local.functions_host.queues import Blocking, Calls, Fail, Queue, Time, listening, run, until
from tests.scripted_server import Answer, Received, scripted_server


def failing(method: str, *numbers: int) -> Fail:
    """Lets these calls of a method fail, counted from 1."""

    def fail(called: str, number: int) -> StorageFailed | None:
        return StorageFailed("the storage is away") if called == method and number in numbers else None

    return fail


def test_storage_that_is_away_is_told_once_and_found_again(caplog: pytest.LogCaptureFixture, azurite: str) -> None:
    # One that has gone: outgoing connections do not take its three ports.
    with running_azurite() as settings:
        own = settings["AzureWebJobsStorage"]
    port = own.partition("BlobEndpoint=http://127.0.0.1:")[2].partition("/")[0]
    queue, calls, clock = Queue(own, create=False), Calls(), Time()
    caplog.set_level(logging.WARNING, "local.functions_host")

    async def scenario() -> None:
        async with listening(queue, calls, clock=clock):
            await until(lambda: len(clock.asked) > 3)
            with running_azurite(["--port", port]):
                queue.client.create_queue()
                queue.put("here again")
                await until(lambda: calls.seen == [("here again", 1)] and queue.count == 0)

    run(scenario)
    texts = [record.getMessage() for record in caplog.records if record.name == "local.functions_host"]
    assert [text for text in texts if "cannot be read" in text] == texts[:1]
    assert "127.0.0.1" not in texts[0]
    assert "can be read again" in texts[1]


@pytest.mark.parametrize("content_type", ["application/xml", "text/plain"])
@pytest.mark.parametrize("broken", [b"", b"<QueueMessagesList><Queue", b"<QueueMessagesList><QueueMessage/>"])
def test_broken_answer_does_not_end_the_listener(broken: bytes, content_type: str) -> None:
    time = b"Tue, 24 Nov 2026 10:00:00 GMT"
    whole = (
        b"<QueueMessagesList><QueueMessage><MessageId>1</MessageId><PopReceipt>r</PopReceipt>"
        b"<DequeueCount>1</DequeueCount><MessageText>dGhlIHRleHQ=</MessageText><InsertionTime>%s</InsertionTime>"
        b"<ExpirationTime>%s</ExpirationTime><TimeNextVisible>%s</TimeNextVisible></QueueMessage></QueueMessagesList>"
    ) % (time, time, time)

    def answer(number: int, request: Received) -> Answer:
        if request.method == "DELETE":
            return Answer(204, b"")
        body = {0: broken, 1: whole}.get(number, b"<QueueMessagesList/>")
        return Answer(200, body, {"Content-Type": content_type})

    calls = Calls()
    with scripted_server(answer) as server:
        own = connection_string(10000).replace(":10001", f":{server.url.rpartition(':')[2]}")
        queue = Queue(own, create=False)

        async def scenario() -> None:
            async with listening(queue, calls):
                await until(lambda: any(request.method == "DELETE" for request in server.received))

        run(scenario)
    assert calls.seen == [("the text", 1)]


def test_message_that_another_one_deleted_is_let_go(azurite: str, caplog: pytest.LogCaptureFixture) -> None:
    queue, function, clock = Queue(azurite), Blocking(), Time()
    queue.put("gone")

    async def scenario() -> None:
        async with listening(queue, function, clock=clock):
            await until(lambda: "gone" in function.running)
            queue.client.clear_messages()
            await clock.pass_()
            await until(lambda: "another has it" in caplog.text)
            function.running["gone"].set_result(True)
            await until(lambda: function.ended == 1)
            # It goes on with others.
            queue.put("next")
            await until(lambda: "next" in function.running)

    run(scenario)
    # The deleted one came no second time, and nowhere else.
    assert (function.most, queue.poison) == (1, [])


@pytest.mark.parametrize(("succeeded", "tries"), [(True, 5), (False, 5), (False, 1)])
def test_message_that_another_one_has_fetched_is_left_to_it(
    azurite: str, caplog: pytest.LogCaptureFixture, succeeded: bool, tries: int
) -> None:
    queue, clock = Queue(azurite), Time()
    seen: list[QueueMessage] = []
    queue.put("wanted by two")

    async def call(message: Message, text: str) -> bool:
        # As if the lease had run out.
        queue.client.update_message(message.id, message.receipt, visibility_timeout=0)
        await until(lambda: bool(seen.extend(queue.client.receive_messages(visibility_timeout=60)) or seen))  # type: ignore[func-returns-value]
        return succeeded

    # The listener itself looks for no other message meanwhile.
    options = QueueOptions(max_dequeue_count=tries, batch_size=1, new_batch_threshold=0)

    async def scenario() -> None:
        async with listening(queue, call, options, clock):
            await until(lambda: "another has the message" in caplog.text)

    run(scenario)
    assert (len(seen), queue.count, queue.poison) == (1, 1, [])
    # It is not tried again: the pauses of the storage's failures were not made.
    assert 0.8 not in clock.asked
    # Nothing was done to it: the other one's receipt holds.
    queue.client.delete_message(seen[0])


def test_renewal_that_failed_is_made_again_sooner(azurite: str) -> None:
    queue, function, clock = Queue(azurite), Blocking(), Time()
    queue.put("long")

    async def scenario() -> None:
        async with listening(queue, function, clock=clock, fail=failing("hide", 1, 2, 3)):
            for pause in (300, 150, 75, 60, 300):
                await until(lambda seconds=pause: long(clock)[-1:] == [seconds])  # type: ignore[misc]
                await clock.pass_()
            await until(lambda: len(long(clock)) == 6)
            function.running["long"].set_result(True)
            await until(lambda: queue.count == 0)

    run(scenario)
    assert long(clock) == [300, 150, 75, 60, 300, 300]


def long(clock: Time) -> list[float]:
    return [pause for pause in clock.asked if pause > 5]


@pytest.mark.parametrize("failures", [1, 3])
def test_change_that_failed_is_made_again(azurite: str, failures: int) -> None:
    queue, calls, clock = Queue(azurite), Calls(), Time()
    queue.put("done")

    async def scenario() -> None:
        async with listening(queue, calls, clock=clock, fail=failing("delete", *range(1, failures + 1))):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert len(calls.seen) == 1
    assert [pause for pause in clock.asked if pause in (0.8, 1.6, 3.2)] == [0.8, 1.6, 3.2][:failures]


def test_change_that_fails_too_often_is_told_and_left_to_the_lease(
    azurite: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue, calls = Queue(azurite), Calls()
    queue.put("done")

    async def scenario() -> None:
        async with listening(queue, calls, fail=failing("delete", 1, 2, 3, 4)):
            await until(lambda: "the storage is away" in caplog.text)

    run(scenario)
    assert (len(calls.seen), queue.count, caplog.text.count("the storage is away")) == (1, 1, 1)


def test_message_gets_into_the_poison_queue_once_where_it_cannot_be_deleted(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls(False)
    queue.put("bad")

    async def scenario() -> None:
        options = QueueOptions(max_dequeue_count=1)
        async with listening(queue, calls, options, fail=failing("delete", 1, 2)):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert len(queue.poison) == 1


def test_message_that_cannot_be_given_back_does_not_keep_the_stop(
    azurite: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue, function = Queue(azurite), Blocking()
    queue.put("first", "second")

    async def scenario() -> None:
        async with listening(queue, function, fail=failing("hide", 1)) as listener:
            await until(lambda: len(function.running) == 2)
            await listener.stop(0.1)
        found: list[Any] = []
        await until(lambda: bool(found.append(queue.client.receive_message()) or found[-1]))  # type: ignore[func-returns-value]
        assert queue.client.receive_message() is None

    run(scenario)
    assert caplog.text.count("the storage is away") == 1
