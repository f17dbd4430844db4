"""The life of messages, on a real Azurite."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from local.functions_host.queue_listener import Pauses
from local.functions_host.queue_settings import QueueOptions
from tests.local.functions_host.queues import BOUND_SECONDS, Blocking, Calls, Queue, Time, listening, run, until


def test_message_is_handled_once_and_deleted(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls()
    queue.put("the text")

    async def scenario() -> None:
        async with listening(queue, calls):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert calls.seen == [("the text", 1)]
    (message,) = calls.messages
    # Hidden for ten minutes, counted from its fetch, which was less than a minute after it was sent.
    assert 600 <= (message.visible_again - message.inserted).total_seconds() < 660
    assert queue.poison == []


def test_lease_is_renewed_at_half_time_while_the_function_runs(azurite: str) -> None:
    queue, function, clock = Queue(azurite), Blocking(), Time()
    queue.put("long")

    async def scenario() -> None:
        async with listening(queue, function, clock=clock):
            for renewals in (1, 2, 3):
                await clock.pass_()
                await until(lambda count=renewals: clock.asked.count(300) == count + 1)  # type: ignore[misc]
            function.running["long"].set_result(True)
            # Only the receipt of the last renewal deletes it.
            await until(lambda: queue.count == 0)

    run(scenario)
    assert (function.ended, clock.asked.count(300), queue.poison) == (1, 4, [])


def test_failure_comes_again_and_ends_in_the_poison_queue(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls(False, False, False)
    queue.put("bad", "good")

    async def scenario() -> None:
        async with listening(queue, calls, QueueOptions(max_dequeue_count=2, batch_size=1, new_batch_threshold=0)):
            await until(lambda: queue.count == 0)

    run(scenario)
    # Which of the two comes first again is the queue's affair.
    assert sorted(calls.seen) in ([("bad", 1), ("bad", 2), ("good", 1), ("good", 2)],)
    assert len(queue.poison) == 1


def test_failed_message_waits_for_the_visibility_timeout(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls(False)
    queue.put("bad")

    async def scenario() -> None:
        async with listening(queue, calls, QueueOptions(visibility_seconds=900)):
            await until(lambda: len(calls.seen) == 1)

    run(scenario)
    assert (queue.count, queue.poison) == (1, [])
    assert queue.client.receive_message() is None


def test_message_that_was_fetched_too_often_is_not_handed_over(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls()
    queue.put("crashes")
    for _ in range(2):
        fetched = queue.client.receive_message()
        assert fetched is not None
        queue.client.update_message(fetched, visibility_timeout=0)

    async def scenario() -> None:
        async with listening(queue, calls, QueueOptions(max_dequeue_count=2)):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert calls.seen == []
    assert queue.poison == ["Y3Jhc2hlcw=="]


@pytest.mark.parametrize("raw", ["not base64!", "abc", "{}"])
def test_message_that_is_no_base64_goes_to_the_poison_queue(azurite: str, raw: str) -> None:
    queue, calls = Queue(azurite), Calls()
    queue.client.send_message(raw)

    async def scenario() -> None:
        async with listening(queue, calls):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert (calls.seen, queue.poison) == ([], [raw])


def test_plain_messages_where_host_json_says_so(azurite: str) -> None:
    queue, calls = Queue(azurite), Calls()
    queue.client.send_message("plain")

    async def scenario() -> None:
        async with listening(queue, calls, QueueOptions(is_base64=False)):
            await until(lambda: queue.count == 0)

    run(scenario)
    assert calls.seen == [("plain", 1)]


def test_poison_queue_has_no_poison_queue(azurite: str) -> None:
    queue, calls = Queue(azurite, "own-poison"), Calls(False)
    queue.put("bad")

    async def scenario() -> None:
        async with listening(queue, calls, QueueOptions(max_dequeue_count=1)):
            await until(lambda: len(calls.seen) == 1)

    run(scenario)
    # Hidden until its lease runs out.
    assert (queue.count, queue.client.receive_message()) == (1, None)


def test_batch_and_threshold_bound_how_many_are_in_work(azurite: str) -> None:
    queue, function, clock = Queue(azurite), Blocking(), Time()
    queue.put(*(str(number) for number in range(8)))

    async def scenario() -> None:
        async with listening(queue, function, QueueOptions(batch_size=2, new_batch_threshold=1), clock):
            for ended in range(8):
                # Three at once: two of a batch, and one that was left when the batch was fetched.
                await until(lambda count=ended: len(function.running) >= min(2, 8 - count))  # type: ignore[misc]
                next(future for future in function.running.values() if not future.done()).set_result(True)
                await until(lambda count=ended: function.ended == count + 1)  # type: ignore[misc]
            await until(lambda: queue.count == 0)

    run(scenario)
    assert function.most == 3


def test_queue_that_comes_later_is_read(azurite: str) -> None:
    queue, calls, clock = Queue(azurite, create=False), Calls(), Time()

    async def scenario() -> None:
        async with listening(queue, calls, clock=clock):
            await until(lambda: len(clock.asked) > 2)
            queue.client.create_queue()
            queue.put("late")
            await until(lambda: bool(calls.seen))

    run(scenario)
    assert calls.seen == [("late", 1)]


def test_stop_gives_back_what_is_in_work(azurite: str) -> None:
    queue, function = Queue(azurite), Blocking()
    queue.put("unfinished")

    async def scenario() -> None:
        async with listening(queue, function) as listener:
            await until(lambda: "unfinished" in function.running)
            await listener.stop(0.1)
        found: list[Any] = []
        # Another host gets it within a second or two, not after the ten minutes of the lease.
        await until(lambda: bool(found.append(queue.client.receive_message()) or found[-1]))  # type: ignore[func-returns-value]
        assert found[-1].dequeue_count == 2

    run(scenario)


def test_stop_lets_a_function_end(azurite: str) -> None:
    queue, function = Queue(azurite), Blocking()
    queue.put("nearly done")

    async def scenario() -> None:
        async with listening(queue, function) as listener:
            await until(lambda: "nearly done" in function.running)
            stopping = asyncio.create_task(listener.stop(BOUND_SECONDS))
            await asyncio.sleep(0)
            function.running["nearly done"].set_result(True)
            await stopping

    run(scenario)
    assert queue.count == 0


def test_pauses_grow_to_their_bound_and_start_again() -> None:
    pauses = Pauses(2.0, uniform=lambda low, high: (low + high) / 2)
    assert [round(pauses.next(), 3) for _ in range(8)] == [0.1, 0.2, 0.3, 0.5, 0.9, 1.7, 2.0, 2.0]
    pauses.after_messages()
    assert pauses.next() == 0.1


def test_pauses_are_a_little_random() -> None:
    first, second = Pauses(60.0), Pauses(60.0)
    found = [(first.next(), second.next()) for _ in range(6)]
    assert all(0.1 <= pause <= 0.1 + 0.1 * 16 * 1.2 for pair in found for pause in pair)
    assert any(one != other for one, other in found)
